"""Long work: other threads run beside it, Ctrl-C stops it, and a forked child can do it too."""

from __future__ import annotations

import _thread
import os
import threading
import time

import numpy as np
import pytest

import qnnsim

AXES = {
    "mac.rows": list(range(1, 65)),
    "mac.cols": list(range(1, 65)),
    "dram.latency": list(range(20, 40)),
}


def test_ctrl_c_stops_a_sweep(tcv):
    # 80,000 points take minutes.
    threading.Timer(0.5, _thread.interrupt_main).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        qnnsim.sweep(tcv, AXES)
    assert time.monotonic() - started < 20
    # What it was at is over: the next call is answered.
    assert len(qnnsim.sweep(tcv, {"mac.cols": [8, 16]}).points) == 2


def test_ctrl_c_stops_predict(tcv):
    images = np.zeros((60_000, 1, 28, 28), np.uint8)
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            tcv.predict(images)


def test_other_threads_run_beside_it(tcv):
    images = np.zeros((1_000, 1, 28, 28), np.uint8)
    done = threading.Event()

    def work() -> None:
        for _ in range(3):
            tcv.predict(images)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    steps = 0
    while not done.is_set():
        steps += 1
        time.sleep(0.001)
    worker.join()
    # With the lock held there would be a step between two calls at most.
    assert steps > 20


def test_progress_counts_to_the_end(tcv, monkeypatch):
    from contextlib import contextmanager

    from qnnsim import _program

    seen: list[tuple[int, int]] = []

    @contextmanager
    def progress(unit, show):
        yield lambda done, total: seen.append((done, total))

    monkeypatch.setattr(_program, "progress", progress)
    tcv.predict(np.zeros((3, 1, 28, 28), np.uint8))
    assert seen[-1] == (3, 3)


@pytest.mark.parametrize("tqdm", [True, False], ids=["tqdm", "plain"])
def test_progress_shows_on_a_terminal_and_where_it_is_asked_for(tcv, monkeypatch, capsys, tqdm):
    import sys

    from qnnsim import _progress

    monkeypatch.setattr(_progress, "DELAY_S", 0.0)
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    images = np.zeros((20, 1, 28, 28), np.uint8)
    tcv.predict(images)
    # Nobody looks at a pipe.
    assert capsys.readouterr().err == ""
    tcv.predict(images, show_progress=True)
    assert "image" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tcv.predict(images)
    assert "image" in capsys.readouterr().err
    tcv.predict(images, show_progress=False)
    assert capsys.readouterr().err == ""


def test_an_exception_of_the_progress_stops_the_work(tcv):
    def watch(done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tcv._native.predict(np.zeros((20_000, 1, 28, 28), np.uint8), False, watch)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_predicts(tcv, digits):
    expected = tcv.predict(digits)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            same = np.array_equal(tcv.predict(digits), expected)
            os.write(writer, b"1" if same else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.waitpid(child, 0)


def test_threads_share_a_program(tcv, digits):
    from concurrent.futures import ThreadPoolExecutor

    expected = tcv.predict(digits)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: tcv.predict(digits), range(8)))
    assert all(np.array_equal(result, expected) for result in results)

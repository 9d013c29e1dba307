"""Reads a Perfetto trace that `qnnsim run --both --trace=FILE.pftrace` wrote through the messages that the Perfetto project
publishes (the package `perfetto` has them), and holds it against what `qnnsim run --format json` says.

    python3 tests/timelines/read_perfetto.py target/debug/qnnsim programs/tcv_w1a1.bin
"""

import collections
import json
import os
import subprocess
import sys
import tempfile


def main(qnnsim: str, program: str) -> None:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.pftrace")
        subprocess.run([qnnsim, "run", program, "--both", f"--trace={path}"], check=True, stdout=subprocess.DEVNULL)
        trace = Trace.FromString(open(path, "rb").read())
    report = json.loads(subprocess.run([qnnsim, "run", program, "--format", "json"], check=True, stdout=subprocess.PIPE).stdout)
    clock = report["hw"]["clock.mhz"]

    tracks, names, keys, texts = {}, {}, {}, {}
    counters = collections.defaultdict(list)
    slices = collections.defaultdict(list)
    stacks = collections.defaultdict(list)
    flows = collections.defaultdict(list)
    for packet in trace.packet:
        # Nothing is in the file that the published messages do not know.
        names.update((e.iid, e.name) for e in packet.interned_data.event_names)
        keys.update((e.iid, e.name) for e in packet.interned_data.debug_annotation_names)
        texts.update((e.iid, e.str.decode()) for e in packet.interned_data.debug_annotation_string_values)
        if packet.HasField("track_descriptor"):
            d = packet.track_descriptor
            name = d.process.process_name if d.HasField("process") else d.name
            tracks[d.uuid] = (tracks[d.parent_uuid][0] if d.parent_uuid else name, name)
        if not packet.HasField("track_event"):
            continue
        event, at = packet.track_event, packet.timestamp
        track = tracks[event.track_uuid]
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            notes = {keys[a.name_iid]: texts[a.string_value_iid] if a.string_value_iid else a.uint_value for a in event.debug_annotations}
            stacks[track].append((at, names[event.name_iid], notes))
            for flow in event.flow_ids:
                flows[flow].append((at, "from"))
            for flow in event.terminating_flow_ids:
                flows[flow].append((at, "to"))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            begin, name, notes = stacks[track].pop()
            slices[track].append((begin, at, name, notes, len(stacks[track])))
        elif event.type == TrackEvent.TYPE_COUNTER:
            value = event.double_counter_value if event.HasField("double_counter_value") else event.counter_value
            counters[track].append((at, value))
    assert not any(stacks.values()), "every slice ends"

    ns = 1000 / clock
    warm = next(process for process, _ in slices if process.endswith("warm image"))
    steps = {track: [s for s in slices[warm, track] if "issue" in s[3]] for track in ("ld", "mac", "thr", "st")}
    for unit in report["units"]:
        if unit["name"] in steps:
            # Times are whole nanoseconds, so a step may be one off where the clock does not divide them.
            busy = sum(round((end - begin) / ns) for begin, end, *_ in steps[unit["name"]])
            assert busy == unit["busy"], (unit["name"], busy, unit["busy"])
    for begin, end, name, notes, depth in steps["mac"]:
        assert notes["instruction"].split()[0] in (name, "sync") and notes["cycles"] == round((end - begin) / ns)
    layers = {s[2] for track in slices for s in slices[track] if "issue" not in s[3] and "beats" not in s[3]}
    assert layers == {l["name"] for l in report["layers"]} - {"fetch", "tail"}, layers
    assert flows and all(sorted(end for _, end in ends) == ["from", "to"] for ends in flows.values())
    assert all(dict((e, t) for t, e in ends)["from"] < dict((e, t) for t, e in ends)["to"] for ends in flows.values())

    def total(name: str, process: str, until: float) -> float:
        points = counters[process, name]
        ends = [t for t, _ in points[1:]] + [until]
        return sum(value * (end - begin) for (begin, value), end in zip(points, ends))

    until = (report["cycles"]["cold"] + report["cycles"]["warm"]) * ns
    energy = total("power", warm, until)
    assert abs(energy / report["energy_pj"]["warm"] - 1) < 1e-6, (energy, report["energy_pj"])
    dram = next(m for m in report["memories"] if m["name"] == "dram")
    moved = total("DRAM bandwidth", warm, until) * 1e-3
    assert abs(moved / (dram["reads"] + dram["writes"]) - 1) < 1e-6, (moved, dram)
    semaphores = [name for process, name in counters if process == warm and name.startswith("semaphore ")]
    assert semaphores and all(value >= 0 for name in semaphores for _, value in counters[warm, name])
    print(f"{len(trace.packet)} packets, {sum(map(len, slices.values()))} slices, {len(flows)} arrows, {len(counters)} counters: as the report says")


if __name__ == "__main__":
    main(*sys.argv[1:])

"use strict";
(() => {
  // Titles become a tooltip that comes at once; without this script they are the browser's.
  for (const title of document.querySelectorAll("svg.plot title")) {
    const mark = title.parentElement;
    mark.dataset.tip = title.textContent;
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
  }

  const marks = new Map();
  for (const mark of document.querySelectorAll("[data-p]")) {
    const key = mark.closest("section").id + " " + mark.dataset.p;
    if (!marks.has(key)) marks.set(key, []);
    marks.get(key).push(mark);
  }
  let hot = [];
  const highlight = (mark) => {
    hot.forEach((other) => other.classList.remove("hot"));
    hot = mark ? marks.get(mark.closest("section").id + " " + mark.dataset.p) : [];
    hot.forEach((other) => other.classList.add("hot"));
  };

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (text, x, y) => {
    const [first, ...rest] = text.split("\n");
    const head = document.createElement("b");
    head.textContent = first;
    tip.replaceChildren(head, rest.join("\n"));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    const top = y + 16 + box.height > innerHeight ? y - 16 - box.height : y + 16;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, top) + "px";
  };

  // Dominated points are one path; the nearest is looked up.
  const data = JSON.parse(document.getElementById("cloud").textContent);
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  ring.setAttribute("class", "ring");
  ring.setAttribute("r", "5");
  const nearest = (svg, event) => {
    const points = data.figures[svg.dataset.cloud];
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = 64, found = -1;
    for (let i = 0; i < points.length; i += 3) {
      const far = (points[i] - at.x) ** 2 + (points[i + 1] - at.y) ** 2;
      if (far < best) [best, found] = [far, i];
    }
    return found < 0 ? null : points.slice(found, found + 3);
  };

  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest("[data-p]");
    highlight(mark);
    ring.remove();
    const told = event.target.closest("[data-tip]");
    if (told) return show(told.dataset.tip, event.clientX, event.clientY);
    const svg = event.target.closest("svg[data-cloud]");
    const point = svg && nearest(svg, event);
    if (!point) { tip.hidden = true; return; }
    ring.setAttribute("cx", point[0]);
    ring.setAttribute("cy", point[1]);
    svg.append(ring);
    show(data.rows[point[2]], event.clientX, event.clientY);
  });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);

  for (const head of document.querySelectorAll("table.sortable th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = head.closest("table").tBodies[0];
      const value = (row) => row.cells[head.cellIndex].dataset.v;
      const order = (a, b) => a - b || String(a).localeCompare(String(b));
      const rows = [...body.rows].sort((a, b) => order(value(a), value(b)) * (down ? -1 : 1));
      body.append(...rows);
    });
  }

  for (const code of document.querySelectorAll("code.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        // No clipboard for this page: the text is selected instead.
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    });
    code.after(button);
  }
})();

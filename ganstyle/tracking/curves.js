// Curves: all charts of the page share one range of steps.
const EXTENT = 1000;

const firstAtLeast = (steps, at) => {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < at) low = middle + 1; else high = middle;
  }
  return low;
};
const nearest = (steps, at) => {
  const after = firstAtLeast(steps, at);
  if (after === 0) return 0;
  return after < steps.length && steps[after] - at < at - steps[after - 1] ? after : after - 1;
};
const marks = (low, high, most) => {
  const exponent = Math.floor(Math.log10((high - low) / most));
  let first = 0;
  let last = 0;
  let spacing = 1;
  for (const factor of [1, 2, 5, 10, 20, 50]) {
    spacing = factor * 10 ** exponent;
    first = Math.ceil(low / spacing - 1e-9);
    last = Math.floor(high / spacing + 1e-9);
    if (last - first < most) break;
  }
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * spacing);
};
const brief = (value, digits) => {
  const [unit, letter] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  const shown = Number((value / (letter === "k" ? 1e3 : unit)).toPrecision(digits));
  return (Math.abs(shown) >= 1000 ? shown.toLocaleString("en") : String(shown)) + letter;
};
const briefly = (values) => {
  for (let digits = 4; ; digits += 1) {
    const texts = values.map((value) => brief(value, digits));
    if (digits === 15 || new Set(texts).size === texts.length) return texts;
  }
};
const quantile = (values, share) => {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.round(share * (sorted.length - 1))];
};
// Room for what is seen of the values, but for the wildest.
const valueRange = (drawn) => {
  const smoothed = drawn.flatMap((one) => one.smoothed);
  if (smoothed.length === 0) return [0, 1];
  const logged = drawn.flatMap((one) => one.logged);
  const least = smoothed.reduce((one, other) => Math.min(one, other));
  const most = smoothed.reduce((one, other) => Math.max(one, other));
  const low = Math.min(least, quantile(logged, 0.01));
  const high = Math.max(most, quantile(logged, 0.99));
  const reach = high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)) ? 0.04 * (high - low) : Math.abs(high) / 2 || 1;
  return [low - reach, high + reach];
};
const pathOf = (steps, values, from, to, low, high) => {
  const places = steps.map((step, index) => {
    const down = Math.min(Math.max((high - values[index]) / (high - low), 0), 1);
    return `${((step - from) / (to - from) * EXTENT).toFixed(1)} ${(down * EXTENT).toFixed(1)}`;
  });
  if (places.length === 1) places.push(places[0]);
  return places.length ? `M${places.join("L")}` : "";
};
const tick = (kind, side, percent, text) => {
  const mark = document.createElement("span");
  mark.className = `tick ${kind}`;
  mark.style[side] = `${percent}%`;
  mark.textContent = text;
  return mark;
};
const gridLine = (percent, like) => {
  const line = document.createElementNS(like.namespaceURI, "line");
  const places = { class: "grid", x1: 0, x2: EXTENT, y1: percent * 10, y2: percent * 10, "vector-effect": "non-scaling-stroke" };
  for (const [name, value] of Object.entries(places)) line.setAttribute(name, value);
  return line;
};

const readChart = (box) => {
  const data = JSON.parse(box.querySelector("script").textContent);
  data.series.forEach((one, index) => { one.steps ??= data.series[index - 1].steps; });
  const paths = [...box.querySelectorAll("path")].map((path) => ({ path, whole: path.getAttribute("d") }));
  const grids = box.querySelector(".grids");
  const ticks = box.querySelector(".ticks");
  return {
    ...data, paths, grids, ticks,
    wholeGrids: [...grids.children], wholeTicks: [...ticks.children],
    plot: box.querySelector(".plot"), cursor: box.querySelector(".cursor"),
    tip: box.querySelector(".tip"), chosen: box.querySelector(".chosen"),
  };
};

const drawWhole = (chart) => {
  chart.paths.forEach(({ path, whole }) => path.setAttribute("d", whole));
  chart.grids.replaceChildren(...chart.wholeGrids);
  chart.ticks.replaceChildren(...chart.wholeTicks);
};
const drawPart = (chart, from, to) => {
  // One point beyond each side, so that lines reach the edges.
  const parts = chart.series.map((one) => {
    const [first, last] = [firstAtLeast(one.steps, from), firstAtLeast(one.steps, to + 1e-9)];
    const cut = (values, more) => values.slice(Math.max(first - more, 0), last + more);
    const part = (more) => ({
      steps: cut(one.steps, more), logged: cut(one.logged, more), smoothed: cut(one.smoothed, more),
    });
    return { seen: part(0), drawn: part(1) };
  });
  const seen = parts.map((part) => part.seen);
  const [low, high] = valueRange(seen.some((one) => one.steps.length) ? seen : parts.map((part) => part.drawn));
  chart.paths.forEach(({ path }) => {
    const part = parts[Number(path.dataset.series)].drawn;
    const values = path.classList.contains("logged") ? part.logged : part.smoothed;
    path.setAttribute("d", pathOf(part.steps, values, from, to, low, high));
  });
  const values = marks(low, high, 6);
  const downs = values.map((value) => 100 * (high - value) / (high - low));
  const texts = briefly(values);
  const most = Math.min(Math.max(Math.floor(chart.plot.clientWidth / 75), 2), 6);
  const steps = marks(from, to, most).filter((step) => Math.abs(step - Math.round(step)) < 1e-6);
  const across = (step) => 100 * (step - from) / (to - from);
  chart.grids.replaceChildren(...downs.map((percent) => gridLine(percent, chart.grids)));
  chart.ticks.replaceChildren(
    ...values.map((_, index) => tick("value", "top", downs[index], texts[index])),
    ...steps.map((step) => tick("step", "left", across(step), Math.round(step).toLocaleString("en"))),
  );
};

const startCurves = (curves) => {
  const charts = [...curves.querySelectorAll(".chart")].map(readChart);
  const { low, high } = charts[0];
  const least = Math.min(high - low, Math.max(2, (high - low) / 2000));
  const button = (name) => curves.querySelector(`.toolbar .${name}`);
  const range = curves.querySelector(".toolbar output");
  let view = [low, high];
  let pointed = null;

  const look = (from, to) => {
    const span = Math.min(Math.max(to - from, least), high - low);
    const start = Math.min(Math.max((from + to - span) / 2, low), high - span);
    const zoomed = span < 0.999 * (high - low);
    view = zoomed ? [start, start + span] : [low, high];
    curves.classList.toggle("zoomed", zoomed);
    charts.forEach((chart) => { if (zoomed) drawPart(chart, ...view); else drawWhole(chart); });
    const shown = [Math.ceil(view[0] - 1e-9), Math.floor(view[1] + 1e-9)].map((step) => step.toLocaleString("en"));
    range.textContent = `${zoomed ? "Steps" : "Whole run: steps"} ${shown.join(" – ")}`;
    button("earlier").disabled = !zoomed || start <= low;
    button("later").disabled = !zoomed || start + span >= high;
    button("farther").disabled = button("whole").disabled = !zoomed;
    button("nearer").disabled = view[1] - view[0] <= least;
    point(null, null);
  };
  const zoom = (factor) => {
    const [from, to] = view;
    const centre = pointed !== null && pointed >= from && pointed <= to ? pointed : (from + to) / 2;
    look(centre - (centre - from) * factor, centre + (to - centre) * factor);
  };
  const pan = (share) => {
    const move = share * (view[1] - view[0]);
    const free = Math.min(Math.max(move, low - view[0]), high - view[1]);
    look(view[0] + free, view[1] + free);
  };
  const whole = () => look(low, high);

  // A cursor on all charts, and the values beside it on one of them.
  const point = (step, teller) => {
    if (step !== null) pointed = step;
    const percent = 100 * (step - view[0]) / (view[1] - view[0]);
    for (const chart of charts) {
      chart.cursor.hidden = step === null || percent < 0 || percent > 100;
      chart.cursor.style.left = `${percent}%`;
      chart.tip.hidden = step === null || chart !== teller;
    }
    if (step !== null && teller !== null) tell(teller, step, percent);
  };
  const row = (text, colour) => {
    const line = document.createElement("div");
    if (colour !== null) {
      const key = document.createElement("span");
      key.className = colour >= 8 ? "key dashed" : "key";
      key.style.borderColor = `var(--series-${colour % 8})`;
      line.append(key);
    }
    line.append(text);
    return line;
  };
  const tell = (chart, step, percent) => {
    const rows = [row(`step ${step.toLocaleString("en")}`, null)];
    chart.series.forEach((series, colour) => {
      const index = nearest(series.steps, step);
      if (series.steps[index] !== step) return;
      const smoothed = brief(series.smoothed[index], 4);
      const logged = brief(series.logged[index], 4);
      rows.push(row(`${series.name} ${smoothed}${logged === smoothed ? "" : ` (logged ${logged})`}`, colour));
    });
    chart.tip.replaceChildren(...rows);
    const width = chart.plot.clientWidth;
    chart.tip.style.maxWidth = `${width + 50}px`;
    const left = percent / 100 * width + 10;
    const fits = left + chart.tip.offsetWidth <= width;
    chart.tip.style.left = `${Math.max(fits ? left : left - 20 - chart.tip.offsetWidth, -50)}px`;
  };
  const stepsOf = (chart) => chart.series.map((one) => one.steps).filter((steps) => steps.length > 0);
  const stepNear = (chart, at) => {
    const steps = stepsOf(chart).map((each) => each[nearest(each, at)]).sort((one, other) => one - other);
    return steps.length ? steps[nearest(steps, at)] : null;
  };
  const stepBeside = (chart, direction) => {
    if (pointed === null || pointed < view[0] || pointed > view[1]) return stepNear(chart, (view[0] + view[1]) / 2);
    const beside = stepsOf(chart).map((steps) => {
      const index = direction > 0 ? firstAtLeast(steps, pointed + 1e-9) : firstAtLeast(steps, pointed) - 1;
      return steps[index];
    }).filter((step) => step !== undefined);
    return beside.length ? beside.reduce((one, other) => (direction > 0 ? Math.min(one, other) : Math.max(one, other))) : pointed;
  };

  for (const chart of charts) {
    const { plot, chosen } = chart;
    const touches = new Map();
    let began = null;
    let pinched = null;
    const share = (clientX) => {
      const place = plot.getBoundingClientRect();
      return Math.min(Math.max((clientX - place.left) / place.width, 0), 1);
    };
    const stepAt = (clientX) => view[0] + share(clientX) * (view[1] - view[0]);
    const choose = (clientX) => {
      const [from, to] = [share(began), share(clientX)].sort((one, other) => one - other);
      chosen.style.left = `${100 * from}%`;
      chosen.style.width = `${100 * (to - from)}%`;
      chosen.hidden = false;
    };
    const forget = (event) => {
      touches.delete(event.pointerId);
      pinched = began = null;
      chosen.hidden = true;
    };
    // Two fingers: the steps that they have touched stay below them.
    const fingers = () => [...touches.values()].sort((left, right) => left - right);
    const pinch = () => {
      const [one, other] = fingers();
      const place = plot.getBoundingClientRect();
      if (other - one < 10) return;
      const stepsPerPx = (pinched[1] - pinched[0]) / (other - one);
      const from = pinched[0] - (one - place.left) * stepsPerPx;
      look(Math.max(from, low), Math.min(from + place.width * stepsPerPx, high));
    };
    plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") touches.set(event.pointerId, event.clientX);
      else if (event.button === 0) {
        began = event.clientX;
        plot.setPointerCapture(event.pointerId);
      }
      if (touches.size < 2) point(stepNear(chart, stepAt(event.clientX)), chart);
      else pinched = fingers().map(stepAt);
    });
    plot.addEventListener("pointermove", (event) => {
      if (touches.has(event.pointerId)) touches.set(event.pointerId, event.clientX);
      if (pinched !== null) return pinch();
      if (began !== null && Math.abs(event.clientX - began) > 5) choose(event.clientX);
      const step = stepNear(chart, stepAt(event.clientX));
      if (step !== null && step >= view[0] && step <= view[1]) point(step, chart);
    });
    plot.addEventListener("pointerup", (event) => {
      const [from, to] = [began, event.clientX];
      const drawn = !chosen.hidden;
      forget(event);
      if (!drawn) return;
      const steps = [stepAt(from), stepAt(to)].sort((one, other) => one - other);
      look(...steps);
    });
    plot.addEventListener("pointercancel", forget);
    // A finger that was lifted leaves the values to read.
    plot.addEventListener("pointerleave", (event) => {
      if (began === null && event.pointerType !== "touch") point(null, null);
    });
    plot.addEventListener("dblclick", whole);
    plot.addEventListener("blur", () => { if (!chart.tip.hidden) point(null, null); });
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const actions = {
        ArrowLeft: () => walk(-1), ArrowRight: () => walk(1),
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: whole, Escape: whole,
      };
      const action = actions[event.key];
      if (action === undefined) return;
      event.preventDefault();
      action();
    });
    const walk = (direction) => {
      const step = stepBeside(chart, direction);
      if (step === null) return;
      if (step < view[0] || step > view[1]) pan(direction / 2);
      point(step, chart);
    };
  }

  button("earlier").addEventListener("click", () => pan(-0.5));
  button("later").addEventListener("click", () => pan(0.5));
  button("nearer").addEventListener("click", () => zoom(0.5));
  button("farther").addEventListener("click", () => zoom(2));
  button("whole").addEventListener("click", whole);
  const logged = curves.querySelector(".show-logged");
  const follow = () => curves.classList.toggle("only-smoothed", !logged.checked);
  logged.addEventListener("change", follow);
  follow();
  curves.querySelector(".toolbar").hidden = false;
  look(low, high);
};
for (const curves of document.querySelectorAll(".curves")) startCurves(curves);

// The page's script: takes the stream of numbers, puts texts where they belong, and draws three charts.
// Texts come ready from the server. Whatever comes from an event goes in with textContent only.

const SILENCE = 4000;                       // milliseconds without a message after which the numbers are old
const KEPT = 600;                           // samples, as on the server
const GAP = 3;                              // seconds without a sample that a line does not bridge
const SWAP = "challenger";                  // what a mark is called where a challenger took over
const $ = id => document.getElementById(id);
const samples = { time: [], seq: [], accuracy: [], accuracy_recent: [], hinge: [], hinge_recent: [], rate: [] };
let marks = [], heard = 0, source = null, charts = [];

// ------------------------------------------------------------------ the stream

function connect() {
  source = new EventSource("/v1/stream");
  source.addEventListener("history", event => {
    for (const sample of rows(JSON.parse(event.data).samples)) add(sample);
    draw();
  });
  source.addEventListener("now", event => {
    heard = performance.now();
    show(JSON.parse(event.data));
    state("live");
  });
  source.onerror = () => {
    state("reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);   // refused, not just cut off: the browser gave up
  };
}

function state(word) {
  const shown = $("state");
  if (shown.textContent !== word) {
    shown.textContent = word;
    shown.className = `state ${word}`;
    shown.hidden = false;
    document.body.classList.toggle("old", word === "stale" || word === "reconnecting");
  }
}

setInterval(() => {
  if ($("state").textContent === "live" && performance.now() - heard > SILENCE) state("stale");
}, 500);

// ------------------------------------------------------------------ numbers and weights

function* rows(columns) {
  const names = Object.keys(columns);
  for (let i = 0; i < columns.time.length; i++) yield Object.fromEntries(names.map(name => [name, columns[name][i]]));
}

function add(sample) {                      // a clock may have been set back, a server started again: time goes on from there
  const place = samples.time.findIndex(time => time >= sample.time);
  if (place >= 0) for (const name in samples) samples[name].length = place;
  const last = samples.time.at(-1);
  if (last < sample.time - GAP) append({ time: (last + sample.time) / 2 });
  append(sample);
}

function append(sample) {
  for (const name in samples) {
    samples[name].push(sample[name] ?? null);
    if (samples[name].length > KEPT) samples[name].shift();
  }
}

function show(now) {
  add(now.sample);
  marks = now.marks;
  for (const node of document.querySelectorAll("[data-text]")) {
    const text = now.texts[node.dataset.text];
    if (node.textContent !== text) node.textContent = text;
  }
  document.body.classList.toggle("empty", now.phase === "empty");
  document.body.classList.toggle("swapped", marks.some(([, name]) => name === SWAP));
  showWeights(now.weights);
  draw();
}

function showWeights(weights) {
  const largest = weights.length ? Math.abs(weights[0][1]) || 1 : 1;
  $("weights").replaceChildren(...weights.map(([name, weight, known]) => {
    const row = document.createElement("tr"), bar = document.createElement("div"), length = document.createElement("i");
    const [first, second, third] = [0, 1, 2].map(() => row.appendChild(document.createElement("td")));
    first.textContent = first.title = name;
    if (!known) { first.className = "key-only"; first.title = "a key whose feature has not been met again in the log"; }
    const share = 50 * Math.abs(weight) / largest;
    length.style.width = `${share}%`;
    length.style.left = `${weight < 0 ? 50 - share : 50}%`;
    if (weight < 0) length.className = "minus";
    bar.className = "bar";
    bar.append(length);
    second.append(bar);
    third.textContent = (weight < 0 ? "\u2212" : "+") + Math.abs(weight).toFixed(3);
    return row;
  }));
}

// ------------------------------------------------------------------ charts

const percent = value => `${+(100 * value).toFixed(1)} %`;
const plain = value => `${+value.toFixed(3)}`;
const short = value => value >= 1e6 ? `${+(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${+(value / 1e3).toFixed(1)} k` : plain(value);

const both = name => [[name, "all", "--grey"], [`${name}_recent`, "newest 1,000", "--accent"]];

const CHARTS = [
  { id: "accuracy-chart", lines: both("accuracy"), text: percent, marked: true,
    range: (low, high) => [Math.max(0, low - 0.02), Math.min(1, high + 0.02)] },
  { id: "hinge-chart", lines: both("hinge"), text: plain, range: (low, high) => [Math.max(0, low - 0.03), high + 0.03] },
  { id: "rate-chart", lines: [["rate", "stored", "--accent"]], text: short, filled: true,
    range: (low, high) => [0, Math.max(1, 1.1 * high)] },
];

function build() {
  const style = getComputedStyle(document.documentElement), color = name => style.getPropertyValue(name).trim();
  for (const chart of charts) chart.destroy();
  charts = CHARTS.map(({ id, lines, text, marked, filled, range }) => {
    const axis = { stroke: color("--soft"), font: "12px system-ui, sans-serif", ticks: { show: false },
                   grid: { stroke: color("--grid"), width: 1 } };
    const chart = new uPlot({
      ...size($(id)),
      cursor: { sync: { key: "all" }, points: { size: 7 }, drag: { x: false, y: false } },
      legend: { show: false },
      scales: { y: { range: (_, low, high) => low === null ? [0, 1] : range(low, high) } },
      axes: [{ ...axis, size: 28, space: 80, grid: { show: false }, values: (_, ticks) => ticks.map(clock) },
             { ...axis, size: 54, space: 32, values: (_, ticks) => ticks.map(text) }],
      series: [{}, ...lines.map(([, label, line]) => ({ label, stroke: color(line), width: line === "--accent" ? 2 : 1.5,
                                                        points: { show: false }, fill: filled ? color("--wash") : undefined }))],
      hooks: { draw: marked ? [chart => drawMarks(chart, color("--mark"), color("--good"))] : [], setCursor: [tip(text)] },
    }, data(lines), $(id));
    chart.lines = lines;
    return chart;
  });
}

const data = lines => [samples.time, ...lines.map(([name]) => samples[name])];
const size = node => ({ width: Math.max(200, node.clientWidth), height: node.clientHeight });
const clock = time => new Date(1000 * time).toTimeString().slice(0, 8);

function draw() {
  if (!charts.length) build();
  for (const chart of charts) chart.setData(data(chart.lines));
}

function drawMarks(chart, color, swapColor) {       // where the learner passed the event at which a change was found
  const { ctx, bbox: { left, top, width, height } } = chart;
  ctx.save();
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const [seq, name] of [...marks].sort(([, one], [, other]) => (one === SWAP) - (other === SWAP))) {      // those on top
    const place = samples.seq.findIndex(passed => passed >= seq);
    if (place < 1) continue;                // before the first sample
    const x = Math.round(chart.valToPos(samples.time[place], "x", true));
    if (x < left || x > left + width) continue;
    ctx.strokeStyle = name === SWAP ? swapColor : color;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.restore();
}

function tip(text) {
  let box = null;
  return chart => {
    if (!box || !chart.over.contains(box)) {
      box = document.createElement("div");
      box.className = "tip";
      chart.over.append(box);
    }
    const place = chart.cursor.idx;
    box.hidden = place === null || place === undefined || chart.cursor.left < 0;
    if (box.hidden) return;
    const told = chart.lines.filter(([name]) => samples[name][place] !== null)
      .map(([name, label]) => `${label} ${text(samples[name][place])}`);
    const event = `event ${(samples.seq[place] ?? 0).toLocaleString("en")}`;
    box.textContent = [clock(samples.time[place]), event, ...told.reverse()].join(" · ");
    const room = chart.over.clientWidth - box.offsetWidth;
    box.style.left = `${Math.max(0, Math.min(room, chart.cursor.left + 12))}px`;
  };
}

// ------------------------------------------------------------------ begin

document.querySelector("[data-origin]").textContent = location.origin;
new ResizeObserver(() => charts.forEach((chart, i) => chart.setSize(size($(CHARTS[i].id))))).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
state("connecting");
connect();

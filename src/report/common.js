"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
main.textContent = "";

// An element with attributes (or properties, where a value is no string) and children.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    typeof value === "string" ? made.setAttribute(key, value) : (made[key] = value);
  made.append(...children);
  return made;
}

function add(parent, name, attributes, ...children) {
  const made = element(name, attributes, ...children);
  parent.append(made);
  return made;
}

// Four significant digits, without noise behind them.
function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 2);
}

const signed = (value) => (value > 0 ? "+" : "") + number(value, 3);

const charts = [];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A chart in `parent`; `options()` is asked again when the colours of the page change.
function chart(parent, height, label, options, renderer = "svg") {
  const box = add(parent, "div", { class: "canvas", role: "img", "aria-label": label });
  box.style.height = `${height}px`;
  const made = echarts.init(box, null, { renderer });
  const draw = () => {
    const text = { color: colour("--ink") };
    made.setOption({ animation: false, textStyle: text, ...options() }, true);
  };
  draw();
  charts.push({ made, draw });
  return draw;
}

addEventListener("resize", () => charts.forEach(({ made }) => made.resize()));
addEventListener("beforeprint", () => charts.forEach(({ made }) => made.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ draw }) => draw()));

const axis = (more) => ({
  axisLine: { lineStyle: { color: colour("--quiet") } },
  axisLabel: { color: colour("--ink") },
  nameTextStyle: { color: colour("--quiet") },
  splitLine: { lineStyle: { color: colour("--line") } },
  ...more,
});

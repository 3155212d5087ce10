// Draws what a network answers, an output at a time. A task more is a function more in DRAW.

import { detected, drawBoxes } from "./boxes.mjs";

const MOST = 5;

const DRAW = { classification, segmentation, dense };

// outputs: what the host says of each; found: tensors by name; detection: where boxes and scores are; preview: the picture.
export function draw(place, outputs, found, detection, preview) {
  if (detection) return place.replaceChildren(detections(outputs, detected(detection, found), preview));
  place.replaceChildren(...outputs.map((output) => (DRAW[output.task] ?? tensor)(output, found[output.name], outputs.length > 1)));
}

function classification(output, { data }, named) {
  const highest = Math.max(...data), shares = Array.from(data, (value) => Math.exp(value - highest)), sum = shares.reduce((a, b) => a + b, 0);
  const best = shares.map((value, i) => [output.names[i], value / sum]).sort((a, b) => b[1] - a[1]).slice(0, MOST);
  return rows(named ? output.name : "", best.map(([name, share]) => [name, `${(100 * share).toFixed(1)} %`]));
}

// A colour for each class that is there, and how much of the picture it has.
function segmentation(output, { data, dims }) {
  const [, classes, height, width] = dims, plane = height * width, counts = new Map();
  const map = painted(width, height, (i) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (data[c * plane + i] > data[best * plane + i]) best = c;
    counts.set(best, (counts.get(best) ?? 0) + 1);
    return colour(best);
  });
  const found = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MOST);
  const table = rows("", found.map(([c, count]) => [output.names[c] ?? `class ${c}`, `${(100 * count / plane).toFixed(1)} %`]));
  found.forEach(([c], i) => { table.rows[i].cells[0].style.borderLeft = `1rem solid rgb(${colour(c)})`; });
  return together(map, table);
}

function detections([{ names }], boxes, preview) {
  const best = boxes.slice(0, MOST), named = (box) => names[box.class] ?? `class ${box.class}`;
  const table = rows("", best.length ? best.map((box) => [named(box), `${(100 * box.score).toFixed(1)} %`]) : [["nothing found", ""]]);
  best.forEach((box, i) => { table.rows[i].cells[0].style.borderLeft = `1rem solid rgb(${colour(box.class)})`; });
  return together(drawBoxes(preview, boxes, colour), table);
}

function dense(output, { data, dims }) {
  const [, , height, width] = dims, [least, most] = range(data), scale = 255 / (most - least || 1);
  const map = painted(width, height, (i) => Array(3).fill((data[i] - least) * scale));
  return together(map, rows(output.name, [["black", least.toPrecision(4)], ["white", most.toPrecision(4)]]));
}

function tensor(output, { data, dims }) {
  const [least, most] = range(data);
  return rows(output.name, [["shape", dims.join(" × ")], ["from", least.toPrecision(4)], ["to", most.toPrecision(4)]]);
}

function rows(title, cells) {
  const table = document.createElement("table");
  if (title) table.createCaption().textContent = title;
  for (const texts of cells) {
    const row = table.insertRow();
    for (const text of texts) row.insertCell().textContent = text;
  }
  return table;
}

function painted(width, height, colourOf) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...colourOf(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

function range(data) {
  let least = Infinity, most = -Infinity;
  for (const value of data) { least = Math.min(least, value); most = Math.max(most, value); }
  return [Number(least), Number(most)];
}

function together(...parts) {
  const place = document.createElement("div");
  place.append(...parts);
  return place;
}

// Far apart for numbers that are near: the golden angle around the circle of hues.
function colour(number) {
  const hue = (number * 137.5) % 360, part = (n) => { const k = (n + hue / 30) % 12; return Math.round(255 * (0.5 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); };
  return [part(0), part(8), part(4)];
}

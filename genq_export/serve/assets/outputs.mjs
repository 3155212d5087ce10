// Draws what a network answers, an output at a time. A task more is a function more in DRAW.

const MOST = 5;

const DRAW = { classification, tensor };

// outputs: what the host says of each; found: tensors by name.
export function draw(place, outputs, found) {
  place.replaceChildren(...outputs.map((output) => (DRAW[output.task] ?? tensor)(output, found[output.name], outputs.length > 1)));
}

function classification(output, { data }, named) {
  const highest = Math.max(...data), shares = Array.from(data, (value) => Math.exp(value - highest)), sum = shares.reduce((a, b) => a + b, 0);
  const best = shares.map((value, i) => [output.names[i], value / sum]).sort((a, b) => b[1] - a[1]).slice(0, MOST);
  return rows(named ? output.name : "", best.map(([name, share]) => [name, `${(100 * share).toFixed(1)} %`]));
}

function tensor(output, { data, dims }) {
  let least = Infinity, most = -Infinity;
  for (const value of data) { least = Math.min(least, value); most = Math.max(most, value); }
  return rows(output.name, [["shape", dims.join(" × ")], ["from", Number(least).toPrecision(4)], ["to", Number(most).toPrecision(4)]]);
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

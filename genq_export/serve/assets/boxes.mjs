// What a detector finds: boxes of one image as the host reads them (genq_export/tasks/boxes.py), and their drawing.

const MOST = 100, LEAST = 0.3, OVERLAP = 0.5, SIDES = 4, CORNERS = 0.99;

// layout: where boxes and scores are; found: tensors by name. Corners, class and score of each, the best first.
export function detected(layout, found, least = LEAST) {
  const box = at(found[layout.boxes], layout.boxes_last), score = at(found[layout.scores], layout.scores_last);
  const first = layout.together ? SIDES : 0, classes = score.columns - first, boxes = [], all = [];
  for (let i = 0; i < box.rows; i++) {
    boxes.push([0, 1, 2, 3].map((side) => box.value(i, side)));
    all.push(Array.from({ length: classes }, (_, c) => score.value(i, first + c)));
  }
  const raw = all.some((row) => row.some((value) => value < 0 || value > 1)), share = raw ? (value) => 1 / (1 + Math.exp(-value)) : (value) => value;
  const corners = boxes.filter(([a, b, c, d]) => c >= a && d >= b).length > CORNERS * boxes.length, candidates = [];
  all.forEach((row, i) => row.forEach((value, c) => {
    if (share(value) >= least) candidates.push({ corners: corners ? boxes[i] : cornersOf(boxes[i]), class: c, score: share(value) });
  }));
  candidates.sort((a, b) => b.score - a.score);
  const kept = [];
  for (const one of candidates) {
    if (kept.length === MOST) break;
    if (!kept.some((better) => better.class === one.class && overlap(better.corners, one.corners) > OVERLAP)) kept.push(one);
  }
  return kept;
}

// Over the picture as the network saw it. Boxes within 0 and 1 are shares of it.
export function drawBoxes(preview, boxes, colour) {
  const { width, height } = preview, canvas = Object.assign(document.createElement("canvas"), { width, height }), context = canvas.getContext("2d");
  context.drawImage(preview, 0, 0);
  const shares = boxes.every(({ corners }) => Math.max(...corners) <= 1.5), [across, down] = shares ? [width, height] : [1, 1];
  context.lineWidth = Math.max(1, width / 160);
  for (const { corners: [x1, y1, x2, y2], class: number } of boxes) {
    context.strokeStyle = `rgb(${colour(number)})`;
    context.strokeRect(x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down);
  }
  return canvas;
}

function at({ data, dims: [, one, other] }, last) {
  return last ? { rows: other, columns: one, value: (i, k) => data[k * other + i] } : { rows: one, columns: other, value: (i, k) => data[i * other + k] };
}

const cornersOf = ([x, y, w, h]) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2];

function overlap(a, b) {
  const sides = [0, 1].map((side) => Math.max(0, Math.min(a[side + 2], b[side + 2]) - Math.max(a[side], b[side])));
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1), both = sides[0] * sides[1];
  return both / Math.max(area(a) + area(b) - both, 1e-9);
}

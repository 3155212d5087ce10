// Holds model.onnx, computed by an onnxruntime-common package, against what its integer model computes.
// `check.mjs` runs it in Node, `index.html` in a browser.

import { sha256 } from "./sha256.mjs";

export async function check(ort, files, { device, runtime, threads = 1, runs = 20, providers, say = () => {} }) {
  const golden = parsed(files.golden), data = files.data;
  if (!golden || sha256(data) !== golden.data) throw new Error("golden.json or golden.bin is damaged or belongs to another build: copy the whole check folder again");
  const { plain, probed, timed } = await open(ort, files, golden.session, { threads, providers });
  const result = await compare(ort, golden, data, plain, probed, say);
  const latency_ms = await latency(timed, { [golden.input]: numbers(ort, golden, data, 0) }, runs, say);
  return { ...result, format: 1, model: sha256(files.model), golden: golden.data, runtime, device, threads, latency_ms,
    note: sha256(files.model) === golden.model ? "" : "this is not the file that was made with this check" };
}

// The model as it is, with its code tensors as outputs, and what is timed.
export async function open(ort, files, entries, { threads, providers }) {
  const session = (bytes, entries) => ort.InferenceSession.create(bytes, {
    executionProviders: providers, intraOpNumThreads: threads, logSeverityLevel: 3, ...extra(entries) });
  const plain = await session(files.model, entries), probed = await session(joined(files.model, files.probes), entries);
  return { plain, probed, timed: { deployed: plain, ...(files.float && { float: await session(files.float, {}) }) } };
}

async function compare(ort, golden, data, plain, probed, say) {
  const names = golden.outputs.map((output) => output.name), unlike = new Map();
  let equal = true, gap = 0, moved = 0, answers = 0, wrong = 0, kept = 0, near = true;
  for (let image = 0; image < golden.images; image++) {
    say(`image ${image + 1} of ${golden.images}`);
    const feed = { [golden.input]: numbers(ort, golden, data, image) };
    const found = await plain.run(feed, names);
    const watched = await probed.run(feed, [...names, ...golden.quantizers.map((item) => item.tensor)]);
    let same = true, firstHere = true;
    for (const output of golden.outputs) {
      const size = output.shape.reduce((a, b) => a * b, 1), value = found[output.name].data;
      const truth = new Float32Array(data.slice(output.at + 4 * size * image, output.at + 4 * size * (image + 1)).buffer);
      for (let i = 0; i < size; i++) {
        if (!Object.is(value[i], truth[i])) equal = false;
        gap = Math.max(gap, Math.abs(value[i] - truth[i]));
        moved = Math.max(moved, Math.abs(value[i] - watched[output.name].data[i]));
      }
      if (output.shape.length === 1 && highest(value) !== highest(truth)) same = false;
    }
    answers += same;
    for (const item of golden.quantizers) {
      const tensor = watched[item.tensor], codes = tensor.data;
      let count = 0, largest = 0;
      for (let i = 0; i < item.kept; i++) {
        const byte = data[item.at + image * item.kept + i], truth = item.dtype === "int8" ? (byte << 24) >> 24 : byte;
        const by = Math.abs(codes[i * item.step] - truth);
        if (by) { count++; largest = Math.max(largest, by); }
      }
      wrong += count; kept += item.kept;
      if (tensor.type !== item.dtype || sha256(new Uint8Array(codes.buffer, codes.byteOffset, codes.length)) !== item.sha256[image]) {
        const [before, by] = unlike.get(item.name) ?? [0, 0];
        unlike.set(item.name, [before + count, Math.max(by, largest)]);
        if (firstHere && (largest > 1 || count > Math.max(1, (1 - golden.least) * item.kept))) near = false; // what differs behind it follows from it
        firstHere = false;
      }
    }
  }
  const first = golden.quantizers.map((item) => item.name).find((name) => unlike.has(name)) ?? "", share = 1 - wrong / Math.max(kept, 1);
  const enough = near && answers === golden.images, [count, by] = unlike.get(first) ?? [0, 0];
  return { verdict: !unlike.size ? "same codes" : enough ? "same within its tolerance" : "other codes",
    images: golden.images, outputs_equal: equal, outputs_largest_gap: gap, same_answers: answers, quantizers: golden.quantizers.length,
    quantizers_unlike: unlike.size, codes_equal: share, moved_by_watching: moved, first_unlike: first, first_unlike_codes: count, first_unlike_by: by };
}

// Image `image` of the data as the network takes it.
export function numbers(ort, golden, data, image) {
  const [channels, height, width] = golden.shape, plane = height * width, values = new Float32Array(channels * plane);
  const table = new Float32Array(data.slice(golden.table, golden.table + 1024 * channels).buffer), start = golden.pixels + image * channels * plane;
  for (let i = 0; i < values.length; i++) values[i] = table[256 * Math.floor(i / plane) + data[start + i]];
  return new ort.Tensor("float32", values, [1, ...golden.shape]);
}

export async function latency(sessions, feed, runs, say) { // batches of 50 ms: a browser's clock may be coarse
  const figures = {};
  const times = Object.fromEntries(Object.keys(sessions).map((name) => [name, []]));
  for (let run = -3; run < runs; run++) {
    say(`timing ${run + 4} of ${runs + 3}`);
    for (const [name, session] of Object.entries(sessions)) {
      const start = performance.now();
      let calls = 0, spent = 0;
      while (spent < 50) { await session.run(feed); calls++; spent = performance.now() - start; }
      if (run >= 0) times[name].push(spent / calls);
    }
  }
  for (const [name, values] of Object.entries(times)) {
    values.sort((a, b) => a - b);
    figures[name] = { median: values[Math.floor(values.length / 2)], p90: values[Math.floor(values.length * 0.9)] };
  }
  return figures;
}

const parsed = (bytes) => { try { return JSON.parse(new TextDecoder().decode(bytes)); } catch { return null; } };
const highest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
const joined = (a, b) => { const both = new Uint8Array(a.length + b.length); both.set(a); both.set(b, a.length); return both; };
export const extra = (entries) => Object.keys(entries).length
  ? { extra: { session: Object.fromEntries(Object.entries(entries).map(([name, value]) => [name.replace("session.", ""), value])) } } : {};

// onnxruntime-web and large files in a browser, or one line that says why not.

const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

// A page over plain http is not isolated, and has one thread.
export const threads = () => (self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 4) : 1);

// place: URL of the folder with onnxruntime-web's files; remedy: what to do where they are not there.
export async function openRuntime(place, remedy) {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD)))
    throw new Error("This browser has no WebAssembly SIMD, which onnxruntime-web needs: update it (Chrome 91, Firefox 89, Safari 16.4 or newer), or run check.py on this device");
  const ort = await import(new URL("ort.wasm.min.mjs", place)).catch(() => { throw new Error(remedy); });
  Object.assign(ort.env.wasm, { wasmPaths: place.href, numThreads: threads() });
  return ort;
}

export const named = (ort) => `onnxruntime-web ${ort.env.versions?.web ?? ort.env.versions?.common ?? ""}`;

// The bytes of a file; missing: what to say where it is not there.
export async function fetched(name, missing, options = {}) {
  const answer = await fetch(name, { cache: "no-store", ...options }).catch(() => null);
  if (!answer?.ok) throw new Error(missing);
  return withRoom(answer.arrayBuffer(), Number(answer.headers.get("content-length")), name).then((bytes) => new Uint8Array(bytes));
}

// What a promise gives, or one line where the browser's memory ends.
export async function withRoom(promise, bytes, name) {
  try { return await promise; } catch (error) {
    const text = String(error?.message ?? error);
    if (!/memory|alloc|out of bounds|too large|array length/i.test(text)) throw error;
    throw new Error(`This browser has no room for ${name.replace(/.*\//, "")} (${(bytes / 1e6).toFixed(1)} MB): close other pages or use a device with more memory; check.py needs less (${text.slice(0, 100)})`);
  }
}

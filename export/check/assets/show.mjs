// What a page shows of a result: the verdict as a sentence, and a table of figures.

const WORDS = { "same codes": "Yes: the codes of every quantizer are the integer model's.",
  "same within its tolerance": "Yes, within tolerance: float operators round otherwise here.", "other codes": "No: other codes." };

export const show = (id) => { const element = document.getElementById(id); element.hidden = false; return element; };
export const verdict = (text, kind = "", id = "verdict") => Object.assign(show(id), { textContent: text, className: `verdict ${kind}` });

export function showResult(result, more = {}) {
  const by = result.first_unlike ? ` The first is ${result.first_unlike}, by ${result.first_unlike_by || "codes that were not kept"}.` : "";
  verdict(WORDS[result.verdict] + by, result.verdict.startsWith("same") ? "good" : "bad");
  table("figures", { "Images": result.images, "Quantizers with equal codes": `${result.quantizers - result.quantizers_unlike} of ${result.quantizers}`,
    "Outputs": result.outputs_equal ? "equal bit for bit" : `differ by ${result.outputs_largest_gap.toPrecision(3)} at most`, "Same answers": `${result.same_answers} of ${result.images}`,
    "Time of a call": result.latency_ms.deployed ? `${result.latency_ms.deployed.median.toFixed(2)} ms (9 of 10 below ${result.latency_ms.deployed.p90.toFixed(2)})` : "not measured", ...more,
    "Runtime": `${result.runtime}, ${result.threads} thread${result.threads > 1 ? "s" : ""}`, "Device": result.device, ...(result.note && { "Note": result.note }) });
}

export function table(id, rows) {
  show(id).replaceChildren(...Object.entries(rows).map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
}

// A picture as the network takes it: covered or stretched to a size, the middle cut out, numbers in the network's order.
// Browsers resize in ways of their own: near to the network's preprocessing, not equal to it.

const GREY = [0.299, 0.587, 0.114];

export async function pixelsOf(file, steps, canvas) {
  const [, height, width] = steps.size, [tall, wide] = steps.resize;
  const picture = await opened(file);
  const scale = Math.max(wide / picture.width, tall / picture.height);
  const w = steps.stretch ? wide : picture.width * scale, h = steps.stretch ? tall : picture.height * scale;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, Math.round((width - w) / 2), Math.round((height - h) / 2), Math.round(w), Math.round(h));
  return context.getImageData(0, 0, width, height).data;
}

export function numbersOf(rgba, steps) {
  const [channels, height, width] = steps.size, plane = height * width, numbers = new Float32Array(channels * plane);
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < plane; i++) numbers[c * plane + i] = (colour(rgba, 4 * i, c, steps.order) / 255 - steps.mean[c]) / steps.std[c];
  return numbers;
}

function colour(rgba, at, channel, order) {
  if (order === "grey") return Math.round(GREY.reduce((sum, share, i) => sum + share * rgba[at + i], 0));
  return rgba[at + (order === "BGR" ? 2 - channel : channel)];
}

async function opened(file) {
  const url = URL.createObjectURL(file), picture = new Image();
  picture.src = url;
  try { await picture.decode(); } catch { throw new Error(`This browser cannot read ${file.name} as a picture: take a JPEG or PNG`); }
  finally { URL.revokeObjectURL(url); }
  return picture;
}

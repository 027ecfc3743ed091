// Computes a network, one image at a time. A value is {shape, v}: [height, width, channels] or [numbers], and its
// numbers in that order. nbs/runs/network.ipynb makes the list of operations, nbs/core/network.ipynb has the same in numpy.
function halfToFloat(h) {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

// Base64 of all weights, and where each lies -> Float32Arrays with their shapes.
function unpack(data, table) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  return table.map(({shape, bits, at}) => {
    const v = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < v.length; i++) v[i] = bits === 16 ? halfToFloat(view.getUint16(at + 2 * i, true)) : view.getFloat32(at + 4 * i, true);
    return {shape, v};
  });
}

function softmax(x) {
  const most = x.v.reduce((a, b) => Math.max(a, b)), e = Float64Array.from(x.v, a => Math.exp(a - most));
  const total = e.reduce((a, b) => a + b);
  return {shape: x.shape, v: Float32Array.from(e, a => a / total)};
}

const each = f => x => ({shape: x.shape, v: x.v.map(f)}), sigmoid = a => 0.5 * (1 + Math.tanh(0.5 * a));
const ACTIVATIONS = {
  linear: x => x,
  relu: each(a => Math.max(a, 0)),
  sigmoid: each(sigmoid),
  tanh: each(Math.tanh),
  silu: each(a => a * sigmoid(a)),
  elu: each(a => (a > 0 ? a : Math.expm1(a))),
  softmax,
};

// A convolution with stride 1 whose output is as large as its input.
function conv(x, kernel, bias) {
  const [h, w, channels] = x.shape, [high, wide, , filters] = kernel.shape, k = kernel.v;
  const [up, before] = [(high - 1) >> 1, (wide - 1) >> 1], v = new Float32Array(h * w * filters), sums = new Float64Array(filters);
  for (let r = 0; r < h; r++) for (let c = 0; c < w; c++) {
    sums.set(bias.v);
    for (let i = Math.max(0, up - r); i < high && r + i - up < h; i++)
      for (let j = Math.max(0, before - c); j < wide && c + j - before < w; j++)
        for (let a = 0; a < channels; a++) {
          const pixel = x.v[((r + i - up) * w + c + j - before) * channels + a];
          if (!pixel) continue;
          const from = ((i * wide + j) * channels + a) * filters;
          for (let f = 0; f < filters; f++) sums[f] += pixel * k[from + f];
        }
    v.set(sums, (r * w + c) * filters);
  }
  return {shape: [h, w, filters], v};
}

// Pooling by the largest value of each window, or by their mean.
function pool(x, {op, size: [high, wide], stride: [down, across]}) {
  const [h, w, channels] = x.shape, shape = [Math.floor((h - high) / down) + 1, Math.floor((w - wide) / across) + 1, channels];
  const mean = op === 'meanPool', v = new Float32Array(shape[0] * shape[1] * channels).fill(mean ? 0 : -Infinity);
  for (let r = 0; r < shape[0]; r++) for (let c = 0; c < shape[1]; c++)
    for (let i = 0; i < high; i++) for (let j = 0; j < wide; j++) for (let a = 0; a < channels; a++) {
      const to = (r * shape[1] + c) * channels + a, value = x.v[((r * down + i) * w + c * across + j) * channels + a];
      v[to] = mean ? v[to] + value / (high * wide) : Math.max(v[to], value);
    }
  return {shape, v};
}

// The mean of each feature map.
function meanMap(x) {
  const channels = x.shape[2], places = x.shape[0] * x.shape[1], sums = new Float64Array(channels);
  x.v.forEach((a, i) => { sums[i % channels] += a; });
  return {shape: [channels], v: Float32Array.from(sums, a => a / places)};
}

// Channels, or numbers, side by side.
function join(xs) {
  const channels = xs.map(x => x.shape.at(-1)), all = channels.reduce((a, b) => a + b), places = xs[0].v.length / channels[0];
  const v = new Float32Array(places * all);
  let from = 0;
  xs.forEach((x, k) => {
    for (let i = 0; i < places; i++) v.set(x.v.subarray(i * channels[k], (i + 1) * channels[k]), i * all + from);
    from += channels[k];
  });
  return {shape: [...xs[0].shape.slice(0, -1), all], v};
}

function dense(x, kernel, bias) {
  const n = kernel.shape[1], sums = Float64Array.from(bias.v);
  x.v.forEach((a, i) => { if (a) for (let j = 0; j < n; j++) sums[j] += a * kernel.v[i * n + j]; });
  return {shape: [n], v: Float32Array.from(sums)};
}

// Rows and columns of zeros added at the top, bottom, left and right; with negative numbers, cut off.
function frame(x, [top, bottom, left, right]) {
  const [h, w, channels] = x.shape, shape = [h + top + bottom, w + left + right, channels];
  const v = new Float32Array(shape[0] * shape[1] * channels);
  for (let r = Math.max(0, top); r < Math.min(shape[0], h + top); r++)
    for (let c = Math.max(0, left); c < Math.min(shape[1], w + left); c++)
      for (let a = 0; a < channels; a++) v[(r * shape[1] + c) * channels + a] = x.v[((r - top) * w + c - left) * channels + a];
  return {shape, v};
}

const OPERATIONS = {
  rescale: (o, [x]) => ({shape: x.shape, v: x.v.map(a => a * o.by + o.plus)}),
  conv: (o, [x], w) => ACTIVATIONS[o.then](conv(x, w[o.kernel], w[o.bias])),
  pool: (o, [x]) => pool(x, o),
  meanPool: (o, [x]) => pool(x, o),
  norm: (o, [x], w) => ({shape: x.shape, v: x.v.map((a, i) => a * w[o.by].v[i % x.shape.at(-1)] + w[o.plus].v[i % x.shape.at(-1)])}),
  apply: (o, [x]) => ACTIVATIONS[o.then](x),
  add: (o, xs) => ({shape: xs[0].shape, v: xs[0].v.map((_, i) => xs.reduce((sum, x) => sum + x.v[i], 0) * o.by)}),
  times: (o, [a, b]) => ({shape: a.shape, v: a.v.map((value, i) => value * b.v[i % b.v.length])}),
  join: (o, xs) => join(xs),
  mean: (o, [x]) => meanMap(x),
  flat: (o, [x]) => ({shape: [x.v.length], v: x.v}),
  shape: (o, [x]) => ({shape: o.to, v: x.v}),
  dense: (o, [x], w) => ACTIVATIONS[o.then](dense(x, w[o.kernel], w[o.bias])),
  frame: (o, [x]) => frame(x, o.sides),
  log: (o, [x]) => ({shape: x.shape, v: x.v.map(Math.log)}),
  leak: (o, [x]) => ({shape: x.shape, v: x.v.map(a => (a < 0 ? a * o.by : a))}),
  atLeast: (o, [x]) => ({shape: x.shape, v: x.v.map(a => Math.max(a, o.least))}),
};

// 784 pixels, 0-255 -> every value of the network. Value 0 is the image, value i the result of operation i - 1.
function trace(network, pixels) {
  const values = [{shape: [28, 28, 1], v: Float32Array.from(pixels)}];
  for (const o of network.operations) values.push(OPERATIONS[o.op](o, o.from.map(i => values[i]), network.weights));
  return values;
}

// 784 pixels, 0-255 -> ten probabilities.
const forward = (network, pixels) => trace(network, pixels).at(-1).v;

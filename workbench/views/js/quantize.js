// The affine formula in the browser, in single precision, bit for bit as torch computes it.
//
//     codes = clip(round(x / s), qmin - z, qmax - z) + z          x̂ = (codes - z) · s
//
// Rounding is half to even. Math.fround after each operation gives correctly rounded float32
// results, because a float64 holds the exact product or a quotient close enough to it.

const single = Math.fround;
const TINY = single(2 ** -126 * 2 ** 24); // smallest scale, as in workbench.maths.grid

export function roundHalfEven(x) {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest < 0.5) return low;
  if (rest > 0.5) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}

export function quantizeValue(x, scale, zero, grid) {
  const steps = single(single(x) / single(scale));
  const low = single(grid.qmin - zero);
  const high = single(grid.qmax - zero);
  return single(roundHalfEven(Math.min(high, Math.max(low, steps))) + zero);
}

export function dequantizeCode(code, scale, zero) {
  return single(single(code - zero) * single(scale));
}

// Scale and zero-point that cover [low, high]; zero is always a level.
export function affineRange(low, high, grid) {
  const a = Math.min(0, single(low));
  const b = Math.max(0, single(high));
  const steps = grid.qmax - grid.qmin;
  if (grid.symmetric && grid.signed) {
    return { scale: Math.max(TINY, single(Math.max(-a, b) / single(steps / 2))), zero: 0 };
  }
  if (grid.symmetric) return { scale: Math.max(TINY, single(b / steps)), zero: grid.qmin };
  const scale = Math.max(TINY, single(single(b - a) / steps));
  const zero = single(grid.qmin - roundHalfEven(single(a / scale)));
  return { scale, zero: Math.min(grid.qmax, Math.max(grid.qmin, zero)) };
}

// Ends of the grid: the lowest and the highest value that survive.
export function gridEnds(scale, zero, grid) {
  return [dequantizeCode(grid.qmin, scale, zero), dequantizeCode(grid.qmax, scale, zero)];
}

// The grid after one of its ends was dragged to `value`.
export function dragEnd(which, value, ends, grid) {
  if (!grid.symmetric) {
    const low = which === "low" ? Math.min(value, 0) : ends[0];
    const high = which === "high" ? Math.max(value, 0) : ends[1];
    return affineRange(low, high, grid);
  }
  const zero = grid.signed ? 0 : grid.qmin;
  const code = which === "low" ? grid.qmin - zero : grid.qmax - zero;
  if (code === 0) return affineRange(ends[0], ends[1], grid);
  return { scale: Math.max(TINY, single(value / code)), zero };
}

// Quantize a fine histogram: the mass on each level, what was clipped, and the SQNR.
//
// `energy` (optional) weighs each bin's squared error and signal, so that channels drawn together
// in units of their own step count as much as they do in the tensor.
export function requantize(histogram, scale, zero, grid) {
  const { low, high, counts, energy, tails } = histogram;
  const width = (high - low) / counts.length;
  const mass = new Map();
  const sums = { signal: 0, noise: 0, total: 0, clipped: 0 };
  const [first, last] = gridEnds(scale, zero, grid);
  const half = scale / 2;
  const add = (x, count, weight) => {
    const code = quantizeValue(x, scale, zero, grid);
    const error = dequantizeCode(code, scale, zero) - x;
    mass.set(code, (mass.get(code) || 0) + count);
    sums.signal += weight * x * x;
    sums.noise += weight * error * error;
    sums.total += count;
    if (x < first - half || x > last + half) sums.clipped += count;
  };
  for (let i = 0; i < counts.length; i += 1) {
    if (counts[i]) add(low + (i + 0.5) * width, counts[i], energy ? energy[i] : counts[i]);
  }
  for (const [x, count, weight] of tails || []) add(x, count, weight ?? count);
  const sqnr = sums.noise > 0 ? 10 * Math.log10(sums.signal / sums.noise) : Infinity;
  return { mass, sqnr, clipped: sums.total ? sums.clipped / sums.total : 0, used: mass.size };
}

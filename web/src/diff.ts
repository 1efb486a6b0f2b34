// The difference of two texts, line by line, with a little of what surrounds each change.

export interface DiffLine {
  mark: ' ' | '+' | '-';
  text: string;
}

const around = 2;

export function lines(a: string, b: string): DiffLine[] {
  const x = a.split('\n');
  const y = b.split('\n');
  const all: DiffLine[] = [];
  const common = table(x, y);
  let i = 0;
  let k = 0;
  while (i < x.length || k < y.length) {
    if (i < x.length && k < y.length && x[i] === y[k]) {
      all.push({ mark: ' ', text: x[i] ?? '' });
      i++;
      k++;
    } else if (i < x.length && (k >= y.length || (common[i + 1]?.[k] ?? 0) >= (common[i]?.[k + 1] ?? 0))) {
      all.push({ mark: '-', text: x[i++] ?? '' });
    } else {
      all.push({ mark: '+', text: y[k++] ?? '' });
    }
  }
  return shorten(all);
}

/** lengths of the longest common subsequences of what remains from i and k on */
function table(x: string[], y: string[]): number[][] {
  const t = Array.from({ length: x.length + 1 }, () => new Array<number>(y.length + 1).fill(0));
  for (let i = x.length - 1; i >= 0; i--) {
    for (let k = y.length - 1; k >= 0; k--) {
      const row = t[i] as number[];
      row[k] = x[i] === y[k] ? (t[i + 1]?.[k + 1] ?? 0) + 1 : Math.max(t[i + 1]?.[k] ?? 0, row[k + 1] ?? 0);
    }
  }
  return t;
}

function shorten(all: DiffLine[]): DiffLine[] {
  const near = (i: number) => all.slice(Math.max(0, i - around), i + around + 1).some((l) => l.mark !== ' ');
  const out: DiffLine[] = [];
  let left = false;
  all.forEach((l, i) => {
    if (near(i)) out.push(l);
    else if (!left) out.push({ mark: ' ', text: '…' });
    left = !near(i);
  });
  return all.some((l) => l.mark !== ' ') ? out : all;
}

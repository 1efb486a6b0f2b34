import { describe, expect, test } from 'vitest';
import { initial, lost, Parser, silence, step, type Input, type Machine } from '../src/sse';

/** runs inputs at times; returns the machine and the effects that were asked for */
function run(inputs: [number, Input][], m: Machine = initial): [Machine, string[]] {
  const effects: string[] = [];
  for (const [at, input] of inputs) {
    const [next, effect] = step(m, input, at, 0.5);
    m = next;
    if (effect) effects.push(effect);
  }
  return [m, effects];
}

describe('the connection', () => {
  test('opens, hears, remembers the last id', () => {
    const [m, effects] = run([[0, { type: 'start' }], [10, { type: 'opened' }], [20, { type: 'heard', id: '7' }], [30, { type: 'heard' }]]);
    expect(m).toMatchObject({ phase: 'open', lastId: '7', heardAt: 30, attempt: 0 });
    expect(effects).toEqual(['connect']);
  });

  test('comes back after a break, and keeps the id to go on from', () => {
    const [m, effects] = run([
      [0, { type: 'start' }], [10, { type: 'opened' }], [20, { type: 'heard', id: '7' }],
      [30, { type: 'failed' }], [40, { type: 'tick' }], [5000, { type: 'tick' }],
    ]);
    expect(m).toMatchObject({ phase: 'connecting', lastId: '7' });
    expect(lost(m)).toBe(true); // until it hears something
    expect(effects).toEqual(['connect', 'disconnect', 'connect']);
  });

  test('waits longer each time it fails, up to a limit, and starts afresh once it hears something', () => {
    let m: Machine = step(initial, { type: 'start' }, 0, 0.5)[0];
    const waits: number[] = [];
    for (let now = 0, i = 0; i < 10; i++) {
      m = step(m, { type: 'failed' }, now, 0.5)[0];
      waits.push(m.retryAt - now);
      now = m.retryAt;
      m = step(m, { type: 'tick' }, now, 0.5)[0];
      expect(m.phase).toBe('connecting');
    }
    expect(waits[0]).toBeLessThan(500);
    expect([...waits].sort((a, b) => a - b)).toEqual(waits);
    expect(waits.at(-1)).toBeLessThanOrEqual(15_000);
    [m] = run([[0, { type: 'opened' }], [1, { type: 'heard' }]], m);
    expect(m.attempt).toBe(0);
  });

  test('an open line that says nothing is taken for dead', () => {
    const [m, effects] = run([[0, { type: 'start' }], [0, { type: 'opened' }], [silence, { type: 'tick' }], [silence + 1, { type: 'tick' }]]);
    expect(m.phase).toBe('waiting');
    expect(effects).toEqual(['connect', 'disconnect']);
  });

  test('stop is final until start, whatever arrives late', () => {
    const [m, effects] = run([[0, { type: 'start' }], [1, { type: 'stop' }], [2, { type: 'failed' }], [3, { type: 'opened' }], [9999, { type: 'tick' }]]);
    expect(m.phase).toBe('off');
    expect(effects).toEqual(['connect', 'disconnect']);
    expect(run([[0, { type: 'start' }]], m)[0].phase).toBe('connecting');
  });

  test('reconnects are spread', () => {
    const open = run([[0, { type: 'start' }], [0, { type: 'opened' }]])[0];
    const at = [0, 0.5, 0.99].map((r) => step(open, { type: 'failed' }, 0, r)[0].retryAt);
    expect(new Set(at).size).toBe(3);
  });
});

describe('the parser', () => {
  const text = ': hello\n\nevent: tick\nid: 3\ndata: {"a":1}\n\nevent: heartbeat\ndata:\n\ndata: x\ndata: y\r\n\r\n';

  test('finds events however the bytes are cut', () => {
    for (let size = 1; size <= text.length; size++) {
      const p = new Parser();
      const got = [];
      for (let i = 0; i < text.length; i += size) got.push(...p.push(text.slice(i, i + size)));
      expect(got).toEqual([
        { event: 'tick', id: '3', data: '{"a":1}' },
        { event: 'heartbeat', id: '', data: '' },
        { event: 'message', id: '', data: 'x\ny' },
      ]);
    }
  });
});

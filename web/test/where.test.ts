// @vitest-environment happy-dom
import { describe, expect, test } from 'vitest';
import { address, moving, position, request, wanted, type Found } from '../src/where';

describe('the address is the question', () => {
  test('an id is taken as it is', () => {
    for (const id of ['e-1', 'a/ b', 'ü?&=#', 'pin/0/1', '%2F']) {
      const { wanted: w, notices } = wanted(new URL(address({ kind: 'id', text: id }), 'http://x').search);
      expect([w, notices]).toEqual([{ kind: 'id', text: id }, []]);
      expect(request(w)).toBe(`/v1/events/${encodeURIComponent(id)}/trace`);
    }
  });

  test('a position is a topic, a partition and an offset', () => {
    expect(position(' pin/0/1234 ')).toEqual(['pin', '0', '1234']);
    expect(address({ kind: 'at', text: 'pin/0/1234' })).toBe('/where?at=pin/0/1234');
    expect(request(wanted('?at=pin/0/1234').wanted)).toBe('/v1/records/pin/0/1234/trace');
    for (const bad of ['pin', 'pin/0', 'pin/-1/2', 'pin/a/2', '/0/1', 'pin/0/1/2']) {
      expect(position(bad)).toBeNull();
      const { wanted: w, notices } = wanted(`?at=${bad}`);
      expect([request(w), notices.length]).toEqual(['', 1]);
    }
  });

  test('nothing asked for asks nothing; what is unknown is told', () => {
    expect(request(wanted('').wanted)).toBe('');
    expect(wanted('?x=1&id=a').notices).toHaveLength(1);
    expect(wanted('?id=a&at=pin/0/1').wanted).toEqual({ kind: 'id', text: 'a' });
  });
});

test('a journey is watched until nothing more will come of it', () => {
  const row: Found = { as: 'row', stream: 'pin', log: 1, partition: 0, offset: 1, received_at: '2026-11-28T10:00:00Z' };
  const view = { view: 'pins', version: 'v', buckets: [] as string[], by: 'live' as const, counted: false };
  expect(moving({ ...row, as: 'in_flight' })).toBe(true);
  expect(moving({ ...row, live: { position: 1, read: false } })).toBe(true);
  expect(moving({ ...row, live: { position: 2, read: true }, views: [view] })).toBe(false); // left out by its filter
  expect(moving({ ...row, views: [{ ...view, buckets: ['2026-11-28T10:00:00Z'] }] })).toBe(true); // its day is not filled in yet
  expect(moving({ ...row, as: 'dead_letter' })).toBe(false);
});

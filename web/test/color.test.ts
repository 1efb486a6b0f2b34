import { expect, test } from 'vitest';
import { Slots } from '../src/color';

test('a colour belongs to a value: it stays when ranks change and values come back', () => {
  const s = new Slots();
  expect(s.assign('category', ['a', 'b', 'c'])).toEqual([0, 1, 2]);
  expect(s.assign('category', ['c', 'a', 'b'])).toEqual([2, 0, 1]);
  expect(s.assign('category', ['b'])).toEqual([1]);
  expect(s.assign('category', ['a', 'b', 'c', 'd', 'e'])).toEqual([0, 1, 2, 3, 4]);
});

test('values shown together never share a colour', () => {
  const s = new Slots();
  s.assign('category', ['a', 'b', 'c', 'd', 'e']);
  s.assign('category', ['f', 'b', 'c', 'd', 'e']); // f takes the place of a
  for (const shown of [['a', 'f', 'b', 'c', 'd'], ['f', 'a', 'e'], ['v', 'w', 'x', 'y', 'z']]) {
    expect(new Set(s.assign('category', shown)).size).toBe(shown.length);
  }
});

test('dimensions do not mix', () => {
  const s = new Slots();
  s.assign('category', ['a', 'b']);
  expect(s.assign('country', ['b', 'a'])).toEqual([0, 1]);
});

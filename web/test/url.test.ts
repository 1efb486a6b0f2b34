import { describe, expect, test } from 'vitest';
import { defaults, format, parse, toggleFilter, type State } from '../src/url';

const names = { measures: ['posted', 'video_share'], dimensions: ['category', 'country'], grain: 'minute' as const };
const now = Date.parse('2026-11-24T12:00:00Z');
const state = (patch: Partial<State>): State => ({ ...structuredClone(defaults), ...patch }) as State;

describe('the address is the state', () => {
  test('an empty address is the default, and the default an empty address', () => {
    expect(parse('', names, now)).toEqual({ state: state({}), notices: [] });
    expect(format(state({}))).toBe('');
  });

  test.each<[string, Partial<State>]>([
    ['?from=now-7d/d&to=now/d&grain=day&m=posted,video_share&by=category&f=category:travel&live=1', {
      from: 'now-7d/d', to: 'now/d', grain: 'day', m: ['posted', 'video_share'], by: ['category'],
      f: [{ dim: 'category', value: 'travel', not: false }], live: true,
    }],
    ['?tz=Europe/London', { tz: 'Europe/London' }],
    ['?from=2026-11-22&to=2026-11-23T10:00:00Z', { from: '2026-11-22', to: '2026-11-23T10:00:00Z', live: false }],
    ['?live=0', { live: false }],
    ['?table=1', { table: true }],
    ['?f=country:!gb', { f: [{ dim: 'country', value: 'gb', not: true }] }],
  ])('%s round-trips', (address, patch) => {
    const parsed = parse(address, names, now);
    expect(parsed.notices).toEqual([]);
    expect(parsed.state).toEqual(state(patch));
    expect(format(parsed.state)).toBe(address);
  });

  test.each(['a,b', '!x', '\\N', 'back\\slash', 'ä & ö = 1+1', 'a:b', '', '100 %', '#1'])('filter value %j survives', (value) => {
    const s = state({ f: [{ dim: 'category', value, not: true }, { dim: 'country', value: null, not: false }] });
    const parsed = parse(format(s), names, now);
    expect(parsed.notices).toEqual([]);
    expect(parsed.state.f).toEqual(s.f);
  });
});

describe('an invalid parameter is told and falls back', () => {
  test.each([
    ['?from=yesterday', /from=yesterday is not a time/],
    ['?from=2026-13-45', /not a time/],
    ['?tz=Mars/Base', /not a time zone/],
    ['?grain=second', /not one of minute, hour/],
    ['?m=nothing', /no measure of that name. It has posted, video_share/],
    ['?by=colour', /no dimension of that name/],
    ['?f=colour:red', /no dimension colour/],
    ['?f=red', /not a filter/],
    ['?live=yes', /neither 0 nor 1/],
    ['?frm=now-7d', /parameter “frm”/],
    ['?from=now&to=now-1h', /is empty/],
  ])('%s', (address, notice) => {
    const { state: s, notices } = parse(address, names, now);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(notice);
    expect(format(s)).toBe('');
  });

  test('a grain finer than the view keeps', () => {
    const { notices } = parse('?grain=minute', { ...names, grain: 'day' }, now);
    expect(notices[0]).toMatch(/finer than this view keeps/);
  });

  test('what is valid beside it still counts', () => {
    const { state: s } = parse('?m=nothing,posted&by=category', names, now);
    expect(s.m).toEqual(['posted']);
    expect(s.by).toEqual(['category']);
  });
});

test('toggling a filter adds it, turns it round and takes it away', () => {
  const one = toggleFilter([], 'category', 'travel');
  expect(one).toEqual([{ dim: 'category', value: 'travel', not: false }]);
  expect(toggleFilter(one, 'category', 'travel', true)).toEqual([{ dim: 'category', value: 'travel', not: true }]);
  expect(toggleFilter(one, 'category', 'travel')).toEqual([]);
});

import { describe, expect, it } from 'vitest'
import { expandBraces, globToRegExp } from './patterns.js'

describe('a glob', () => {
  it.each([
    ['a-*.tar', ['a-.tar', 'a-01.tar'], ['b-01.tar', 'a-01.tar.gz', 'a-0/1.tar']],
    ['?.png', ['é.png', '\n.png'], ['10.png', '.png']],
    ['[a-c]0.tar', ['a0.tar', 'c0.tar'], ['d0.tar', '[0.tar']],
    ['[!a-c]0.tar', ['d0.tar'], ['a0.tar']],
    ['[]x].tar', ['].tar', 'x.tar'], ['a.tar']],
    ['[\\d].tar', ['d.tar', '\\.tar'], ['1.tar']],
    ['no such [folder', ['no such [folder'], ['no such folder']],
    ['(1+1) {2}.$^|', ['(1+1) {2}.$^|'], ['1']],
  ])('%s', (glob, matching, others) => {
    const pattern = globToRegExp(glob)
    for (const name of matching) expect(name).toMatch(pattern)
    for (const name of others) expect(name).not.toMatch(pattern)
  })

  it('whose range is out of order is told', () => {
    expect(() => globToRegExp('[z-a].tar')).toThrow('[z-a].tar has a range that is out of order')
  })
})

it('braces are ranges of one width, or lists', () => {
  expect(expandBraces('a-{08..10}.{tar,tgz}')).toEqual(
    ['08', '09', '10'].flatMap((number) => [`a-${number}.tar`, `a-${number}.tgz`]),
  )
  expect(expandBraces('{a}{')).toEqual(['{a}{'])
})

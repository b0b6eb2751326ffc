import { describe, expect, it } from 'vitest'
import { splitFields } from '../../io/sources/csv.js'
import { resultsCsv } from './csv.js'

const hit = {
  ...{ rank: 1, score: 0.5, row: 0, key: 'a', uri: '/photos/a.jpg', label: 2, className: 'things', caption: null },
  ...{ width: 4, height: 3, shard: '', shardRow: 0, missing: false },
}

describe('results as a table', () => {
  it('has a line per result, and says nothing where there is nothing', () => {
    expect(resultsCsv([hit, { ...hit, score: null, label: null, className: null }])).toBe(
      '\ufeffrank,score,key,uri,label,class,caption,width,height,missing\r\n' +
        '1,0.5,a,/photos/a.jpg,2,things,,4,3,false\r\n' +
        '1,,a,/photos/a.jpg,,,,4,3,false\r\n',
    )
  })

  it('keeps separators, quotes and line ends, and is not a formula for a spreadsheet', () => {
    const text = resultsCsv([{ ...hit, key: 'a, "b"\nc', caption: '=HYPERLINK("http://x")' }])
    const record = text.slice(text.indexOf('\r\n') + 2, -2)
    expect(splitFields(record, ',')).toEqual([
      ...['1', '0.5', 'a, "b"\nc', '/photos/a.jpg', '2', 'things', `'=HYPERLINK("http://x")`, '4', '3', 'false'],
    ])
  })
})

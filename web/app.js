// The page of `vtp serve`: a query is a text, an uploaded image and a clicked row, any of them; it lies in the
// address, so that going back and reloading work. No library, no build step.
const PAGE = 24
const FILTERS = ['label', 'caption', 'minWidth', 'minHeight']
const $ = (id) => document.getElementById(id)
const number = new Intl.NumberFormat('en')

let info
let query = {}
let shown = []
/** Of the last request for results, and of the last query that was shown: late answers to older ones are dropped. */
let ticket = 0
let visit = 0
/** Pictures of uploaded queries, by their id; gone after a reload. */
const uploads = new Map()

async function ask(path, options) {
  const response = await fetch(path, options)
  const body = await response.json().catch(() => undefined)
  if (!response.ok) throw new Error(body?.error?.message ?? `The server answers ${response.status}.`)
  return body
}

const thumbnail = (row, size) => `/api/thumbnails/${row}?size=${size}&v=${info.version}`

function element(name, properties = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value
    else made.setAttribute(key, value)
  }
  made.append(...children)
  return made
}

function say(text, isError = false) {
  $('status').textContent = text
  $('status').classList.toggle('error', isError)
}

function parameters(extra = {}) {
  return new URLSearchParams(
    Object.entries({ ...query, ...extra }).filter(([, value]) => value !== '' && value != null),
  )
}

const isQuery = () => Boolean(query.q || query.image || query.row !== undefined)

/** Takes the query from the address and shows it. */
async function show() {
  ticket++
  visit++
  query = Object.fromEntries(new URLSearchParams(location.search))
  $('q').value = query.q ?? ''
  for (const name of FILTERS) $(name).value = query[name] ?? ''
  $('dedup').checked = query.dedup === '1'
  if (FILTERS.some((name) => query[name])) toggleFilters(true)
  showChips()
  $('details').close()
  shown = []
  $('results').replaceChildren()
  $('more').hidden = true
  $('more').disabled = false
  $('empty').hidden = isQuery()
  $('export').hidden = true
  document.title = query.q ? `${query.q} · vtp search` : 'vtp search'
  await load()
}

/** Fetches the next page of results, or of images from all over the index where nothing is searched for. */
async function load() {
  const mine = ++ticket
  const kind = isQuery() ? 'search' : 'sample'
  say(shown.length > 0 ? 'Loading more…' : kind === 'search' ? 'Searching…' : '')
  $('more').disabled = true
  try {
    const answer = await ask(`/api/${kind}?${parameters({ k: PAGE, offset: shown.length })}`)
    if (mine !== ticket) return
    for (const hit of answer.results) $('results').append(card(hit, shown.push(hit) - 1))
    $('more').hidden = !answer.more
    const filtered = FILTERS.some((name) => query[name])
    $('export').hidden = shown.length === 0
    $('export').href = `/api/results.csv?${parameters({ k: shown.length })}`
    if (shown.length === 0) say(filtered ? 'No image meets the filters.' : 'Nothing was found.')
    else if (kind === 'sample') say(`${counted(shown.length, 'image')} from all over the index`)
    else say(`${counted(shown.length, 'result')} · ${answer.milliseconds.toFixed(1)} ms`)
    if (answer.latency) showLatency(answer.latency)
  } catch (error) {
    if (mine === ticket) say(error.message, true)
  } finally {
    if (mine === ticket) $('more').disabled = false
  }
}

const counted = (count, noun) => `${number.format(count)} ${noun}${count === 1 ? '' : 's'}`

function card(hit, at) {
  const name = hit.key.split('/').pop()
  const alt = hit.caption?.trim() || [hit.className, name].filter(Boolean).join(', ')
  const picture = element('button', { type: 'button', className: 'picture', title: 'More like this' })
  picture.setAttribute('aria-label', `${alt}: more like this`)
  const gone = () =>
    picture.replaceChildren(
      element('span', { className: 'gone', textContent: hit.missing ? 'file is missing' : 'no picture' }),
    )
  if (hit.missing) gone()
  else {
    const image = element('img', { src: thumbnail(hit.row, 256), alt, loading: 'lazy', decoding: 'async' })
    image.addEventListener('error', gone)
    picture.append(image)
  }
  picture.addEventListener('click', () => similar(hit))
  const details = element('button', { type: 'button', className: 'info', textContent: 'Details' })
  details.setAttribute('aria-label', `Details of ${name}`)
  details.addEventListener('click', () => openDetails(hit))
  const kind = hit.className ?? (hit.label === null ? '' : `class ${hit.label}`)
  const words = [kind, hit.caption?.trim() || name].filter(Boolean).join(' · ')
  const about = element(
    'div',
    { className: 'about' },
    ...(hit.score === null
      ? []
      : [element('span', { className: 'score', textContent: hit.score.toFixed(3), title: 'cosine similarity' })]),
    details,
  )
  const text = element('div', { className: 'name', textContent: words, title: hit.uri })
  const made = element('li', { className: 'result' }, picture, about, text)
  made.dataset.at = at
  return made
}

async function go(next) {
  const address = `/?${new URLSearchParams(Object.entries(next).filter(([, value]) => value !== '' && value != null))}`
  if (address !== location.pathname + location.search) history.pushState(null, '', address === '/?' ? '/' : address)
  window.scrollTo(0, 0)
  const focused = document.activeElement !== document.body
  await show()
  if (focused) keepFocus(0)
}

/** Whoever uses the keyboard goes on at a result when what had the focus is gone. */
function keepFocus(at) {
  const { activeElement } = document
  if (activeElement && activeElement !== document.body && !activeElement.disabled && !activeElement.hidden) return
  const pictures = document.querySelectorAll('.picture')
  ;(pictures[at] ?? $('q')).focus({ preventScroll: at === 0 })
}

async function more() {
  const from = shown.length
  const mine = visit
  await load()
  if (mine === visit) {
    $('more').blur()
    keepFocus(from)
  }
}

/** What narrows a query down. */
const filters = () => ({
  ...Object.fromEntries(FILTERS.map((name) => [name, $(name).value])),
  dedup: $('dedup').checked ? '1' : '',
})
/** What the page says now, typed text and all. */
const asked = () => ({ q: $('q').value.trim(), ...filters(), image: query.image, row: query.row })
const similar = (hit) => go({ ...filters(), row: hit.row })

function showChips() {
  const chips = []
  const chip = (source, text, remove) => {
    const button = element('button', { type: 'button', textContent: '✕' })
    button.setAttribute('aria-label', `Remove ${text} from the query`)
    button.addEventListener('click', remove)
    const image = source ? [element('img', { src: source, alt: '' })] : []
    chips.push(element('div', { className: 'chip' }, ...image, element('span', { textContent: text }), button))
  }
  const without = (name) => () => {
    const { [name]: _, ...rest } = query
    return go(rest)
  }
  if (query.image) chip(uploads.get(query.image), 'your image', without('image'))
  if (query.row !== undefined) chip(thumbnail(query.row, 256), `like image ${query.row}`, without('row'))
  $('chips').replaceChildren(...chips)
}

async function searchByFile(file) {
  say('Reading the image…')
  const mine = ++visit
  try {
    if (file.size > 20 * 2 ** 20) throw new Error('The image is larger than 20 MiB.')
    const { image } = await ask('/api/upload', { method: 'POST', body: file })
    if (mine !== visit) return
    uploads.set(image, URL.createObjectURL(file))
    await go({ q: $('q').value.trim(), ...filters(), image })
  } catch (error) {
    if (mine === visit) say(error.message, true)
  }
}

function openDetails(hit) {
  const title = hit.key.split('/').pop()
  $('details-title').textContent = title
  const image = $('details-image')
  image.hidden = hit.missing
  if (!hit.missing) image.src = thumbnail(hit.row, 1024)
  image.alt = hit.caption?.trim() || title
  const facts = {
    Similarity: hit.score?.toFixed(4),
    Class: hit.className ?? hit.label,
    Caption: hit.caption,
    Size: hit.width ? `${hit.width} × ${hit.height}` : null,
    Key: hit.key,
    Location: hit.missing ? `${hit.uri} (missing)` : hit.uri,
    'Index row': number.format(hit.row),
    Shard: `${hit.shard}, row ${number.format(hit.shardRow)}`,
  }
  const rows = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined && value !== '')
  $('details-list').replaceChildren(
    ...rows.flatMap(([key, value]) => [element('dt', { textContent: key }), element('dd', { textContent: value })]),
  )
  $('details-original').hidden = hit.missing
  $('details-original').href = `/api/originals/${hit.row}`
  $('details-similar').onclick = () => similar(hit)
  $('details').showModal()
}

function toggleFilters(open = $('filters').hidden) {
  $('filters').hidden = !open
  $('filters-toggle').setAttribute('aria-expanded', String(open))
}

function showLatency({ count, p50, p95 }) {
  $('latency').textContent = count === 0 ? '' : `${number.format(count)} searches · p50 ${p50} ms · p95 ${p95} ms`
}

/** Arrow keys move between results as they lie on the screen. */
function move(key) {
  const pictures = [...document.querySelectorAll('.picture')]
  if (pictures.length === 0) return false
  const at = pictures.indexOf(document.activeElement)
  if (at < 0) {
    if (key !== 'ArrowDown' && key !== 'ArrowRight') return false
    pictures[0].focus()
    return true
  }
  const top = (i) => pictures[i]?.getBoundingClientRect().top
  let columns = 1
  while (columns < pictures.length && top(columns) === top(0)) columns++
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key]
  const next = pictures[at + step]
  if (next) next.focus()
  else if (key === 'ArrowUp') $('q').focus()
  else if (key === 'ArrowDown' && !$('more').hidden) $('more').focus()
  return true
}

function onKey(event) {
  if ($('details').open || event.ctrlKey || event.metaKey || event.altKey) return
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)
  if (event.key === '/' && !typing) {
    $('q').focus()
    $('q').select()
  } else if (event.key.startsWith('Arrow') && (!typing || (event.target === $('q') && event.key === 'ArrowDown'))) {
    if (!move(event.key)) return
  } else if (event.key === ' ' && event.target.classList.contains('picture')) {
    openDetails(shown[event.target.closest('.result').dataset.at])
  } else return
  event.preventDefault()
}

function listen() {
  $('search').addEventListener('submit', (event) => {
    event.preventDefault()
    void go(asked())
  })
  $('file').addEventListener('change', () => {
    const [file] = $('file').files
    $('file').value = ''
    if (file) void searchByFile(file)
  })
  $('pick').addEventListener('click', () => $('file').click())
  $('filters-toggle').addEventListener('click', () => toggleFilters())
  $('filters-clear').addEventListener('click', () => {
    for (const name of FILTERS) $(name).value = ''
    void go(asked())
  })
  for (const name of [...FILTERS, 'dedup']) $(name).addEventListener('change', () => void go(asked()))
  $('more').addEventListener('click', () => void more())
  $('details-close').addEventListener('click', () => $('details').close())
  document.addEventListener('keydown', onKey)
  window.addEventListener('popstate', () => void show())
  document.addEventListener('paste', (event) => {
    const [file] = event.clipboardData?.files ?? []
    if (file) void searchByFile(file)
  })
  const carriesFile = (event) => event.dataTransfer?.types.includes('Files')
  document.addEventListener('dragover', (event) => {
    if (!carriesFile(event)) return
    event.preventDefault()
    $('drop').hidden = false
  })
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) $('drop').hidden = true
  })
  document.addEventListener('drop', (event) => {
    $('drop').hidden = true
    if (!carriesFile(event)) return
    event.preventDefault()
    const [file] = event.dataTransfer.files
    if (file) void searchByFile(file)
  })
}

async function start() {
  listen()
  try {
    info = await ask('/api/info')
  } catch (error) {
    say(error.message, true)
    return
  }
  $('total').textContent = number.format(info.rows)
  $('index').textContent = `${number.format(info.rows)} images · ${info.kind} · ${info.model ?? 'unknown model'}`
  for (const [at, name] of (info.classes ?? []).entries())
    $('label').append(element('option', { value: at, textContent: name }))
  $('label-field').hidden = !info.classes
  $('caption-field').hidden = !info.captions
  showLatency(info.latency)
  await show()
  if (!isQuery()) $('q').focus()
}

void start()

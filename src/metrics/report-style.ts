/** What the pages of all reports look like: colours by the reader's scheme, type, cards of numbers. */
export const REPORT_STYLE = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5b6877;--line:#dfe4ea;--accent:#2f6fdb}
@media(prefers-color-scheme:dark){:root{--bg:#10151c;--card:#18202a;--ink:#e6ebf1;--soft:#95a3b3;--line:#2a3541;--accent:#6ea2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:30px;line-height:1.2;margin:2px 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:36px 0 10px}
h3{font-size:13px;font-weight:600;margin:0;color:var(--soft)}
p{margin:0}
.kicker{color:var(--accent);font-weight:600;font-size:13px}
.note{color:var(--soft);font-size:13px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:0}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:22px}
.value{font-size:30px;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;display:block;margin:6px 0 2px}
.facts div{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--line);padding:4px 0}
footer{margin-top:36px;color:var(--soft);font-size:13px}
@media print{body{background:#fff}.card{break-inside:avoid}}
`

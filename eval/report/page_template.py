"""The page around the tables: HTML and style, to be filled with origin, links and sections."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unlearning results</title>
<style>
:root {{ color-scheme: light dark; --line: #8884;
  --soft: light-dark(#f4f4f2, #262626); --page: light-dark(#fff, #1a1a1a);
  --text: light-dark(#1c1c1c, #e6e6e6); }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem 2rem 4rem;
  max-width: 1500px; background: var(--page); color: var(--text); }}
h1 {{ font-size: 1.6rem; margin: 0; }}
h2 {{ font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1rem; margin: 1.5rem 0 .3rem; }}
nav a, .files a {{ margin-right: 1rem; }}
.origin {{ color: #888; font-size: .85rem; }}
.table {{ overflow-x: auto; margin: .5rem 0 1rem; border: 1px solid var(--line);
  border-radius: 4px; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; }}
th, td {{ padding: .3rem .55rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; white-space: normal; vertical-align: bottom; min-width: 3.4rem;
  background: var(--soft); }}
th:first-child, td:first-child {{ text-align: left; position: sticky; left: 0;
  background: var(--soft); font-weight: 600; }}
tr:last-child td {{ border-bottom: 0; }}
p {{ max-width: 75rem; }}
.warning {{ border-left: 4px solid #d55e00; background: #d55e0022; padding: .4rem .8rem; }}
img {{ display: block; max-width: 100%; margin: 1rem 0; background: #fff;
  border: 1px solid var(--line); border-radius: 4px; }}
</style>
</head>
<body>
<h1>Unlearning results</h1>
<p class="origin">{origin}</p>
<nav>{links}</nav>
{sections}
</body>
</html>
"""

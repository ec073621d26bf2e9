"""A headless browser for the reports in HTML."""

import html
import json
import re
import shutil
import subprocess

import pytest

#: Runs first in the page: keeps errors and refused requests.
_WATCH = """<script>
var faults = [];
addEventListener("error", event => faults.push(event.message));
addEventListener("securitypolicyviolation", event => faults.push(event.blockedURI));
console.error = console.warn = (...words) => faults.push(words.join(" "));
</script>"""


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """Run a function of JavaScript in a page that is 390 pixels wide, such as a telephone's.

    ``browse(page, script)`` returns what the script's ``return`` gives, and the faults of the page.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")

    def browse(page, script):
        watched = html.escape(page.replace("<head>", f"<head>{_WATCH}", 1))
        # A window of a headless browser is at least 500 pixels wide, a frame is not.
        (folder / "frame.html").write_text(
            f"""<!DOCTYPE html><iframe width="390" height="844" srcdoc="{watched}"></iframe>
            <script>onload = () => {{
              const frame = document.querySelector("iframe").contentWindow;
              const run = (window, document) => {{ {script} }};
              const found = {{value: run(frame, frame.document), faults: frame.faults}};
              document.body.innerHTML = "<pre></pre>";
              document.body.firstChild.textContent = JSON.stringify(found);
            }}</script>""",
            encoding="utf-8",
        )
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        found = re.search("<pre>(.*)</pre>", done.stdout, re.DOTALL)
        assert found, done.stdout[-2000:]
        result = json.loads(html.unescape(found[1]))
        return result["value"], result["faults"]

    return browse

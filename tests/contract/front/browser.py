"""A headless Chromium for the tests of the page: what it does beside what it shows is held to rules."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from local import browser

expect.set_options(timeout=60_000)

# Runs in the page before its own scripts. Not as a string that the page would have to evaluate: it forbids that.
_WATCH = ("window.violations = []; addEventListener('securitypolicyviolation', "
          "(event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));")

# Of every text that is seen: the text, its contrast with what it stands on (WCAG 2.2, 1.4.3), and what it needs.
_CONTRASTS = r"""() => {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
      if (colour[3] !== 0) throw new Error(`half transparent: ${at.outerHTML.slice(0, 80)}`);
    }
    return [255, 255, 255];
  };
  const seen = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data).join("").trim();
    const text = own || node.value || node.placeholder;
    if (!text || !node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(node, own || node.value ? null : "::placeholder");
    const [a, b] = [light(numbers(style.color)), light(ground(node))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    seen.push({ text, contrast: (a + 0.05) / (b + 0.05), needed: large ? 3 : 4.5 });
  }
  return seen;
}"""


def program() -> str:
    """The browser's program; the test is left out, or fails where nothing may be left out, when there is none."""
    if found := browser.chromium():
        return str(found)
    if browser.required():
        pytest.fail(browser.REMEDY)
    pytest.skip(browser.REMEDY)


class Window:
    """One window on a worker's page, at `base`."""

    def __init__(self, page: Page, base: str):
        self.page, self.base = page, base
        self.asked: list[str] = []   # addresses
        self.errors: list[str] = []  # of scripts, and what the browser says on its console but for failed requests
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._said(message.type, message.text))

    @classmethod
    async def open(cls, chromium: Browser, base: str, *, dark: bool = False, width: int = 1000) -> Window:
        page = await chromium.new_page(color_scheme="dark" if dark else "light",
                                       viewport={"width": width, "height": 800})
        await page.add_init_script(_WATCH)
        window = cls(page, base)
        await page.goto(base + "/")
        return window

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.errors.append(text)

    def __getitem__(self, selector: str):
        return self.page.locator(selector)

    async def is_(self, state: str) -> None:
        """Wait until the page shows this state."""
        await expect(self["#state"]).to_have_attribute("data-state", state)

    async def ask(self, prompt: str) -> None:
        await self["#prompt"].fill(prompt)
        await self["#send"].click()

    async def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return await self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    async def unreadable(self) -> list[dict]:
        """Texts with too little contrast."""
        seen = await self.page.evaluate(_CONTRASTS)
        assert len(seen) > 3
        return [text for text in seen if text["contrast"] < text["needed"]]

    async def behaved(self) -> None:
        """Fails when the page asked anybody but its worker, broke its own policy, or had an error."""
        assert self.asked and {url.startswith((self.base + "/", "data:")) for url in self.asked} == {True}, self.asked
        assert await self.page.evaluate("() => window.violations") == []
        assert self.errors == []

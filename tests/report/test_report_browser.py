"""The report opened in a real browser: Chromium, driven by chromedriver."""

import base64
import os
import re
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PHONE, DESK = (375, 800), (1280, 900)


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, without a network, its console recorded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (program and driver):
        message = "Chromium and chromedriver are not installed; apt-get install chromium-driver"
        if os.environ.get("ARRAYCNN_TEST_BROWSER") == "required":
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    chromium.execute_cdp_cmd("Network.enable", {})
    conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
    yield chromium
    chromium.quit()


@pytest.fixture(params=["basic/report", "report"])
def opened(browser, report_runs, request):
    """A function that opens a report in a size, a colour scheme and a medium."""

    def open_page(size=DESK, scheme="light", medium="screen"):
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": medium, "features": features}
        )
        browser.get((report_runs / request.param / "report.html").as_uri())
        return browser

    return open_page


def colour(text):
    """(red, green, blue, alpha) of a computed colour."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)]
    return (*numbers[:3], numbers[3] if len(numbers) > 3 else 1.0)


def contrast(one, other):
    """The contrast of two opaque colours: WCAG 2.2, 1 to 21."""

    def luminance(rgb):
        parts = [c / 255 for c in rgb[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def styles(browser, selector, names):
    """The computed styles of every element that has text of its own."""
    script = """
        return [...document.querySelectorAll(arguments[0])]
            .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
            .map(e => arguments[1].map(name => getComputedStyle(e)[name]));
    """
    return browser.execute_script(script, selector, names)


@pytest.mark.parametrize("size", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_missing(opened, size, scheme):
    page = opened(size, scheme)
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').filter("
                               "e => !e.name.startsWith('data:')).length") == 0  # fmt: skip
    images = page.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.width, i.alt])"
    )
    assert len(images) > 20
    for complete, natural, shown, alt in images:
        assert complete, alt
        assert natural > 0, alt
        assert shown >= 16, alt
    boxes = page.execute_script(
        "return [...document.querySelectorAll('svg.chart')].map(s => {"
        "const b = s.getBoundingClientRect(); return [b.width, b.height, "
        "s.querySelectorAll('path').length, s.querySelectorAll('text').length] })"
    )
    assert len(boxes) >= 8
    for width, height, paths, texts in boxes:
        assert min(width, height) > 60
        assert paths > 3
        assert texts > 3


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_the_page_never_scrolls_sideways(opened, width):
    page = opened((width, 800))
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    outside = page.execute_script(
        "return [...document.querySelectorAll('img, svg, h1, h2, h3, p, figure')].filter("
        "e => e.getBoundingClientRect().right > innerWidth + 0.5).length"
    )
    assert outside == 0


def test_text_in_charts_can_be_read_on_a_phone(opened):
    sizes = opened(PHONE).execute_script(
        "return [...document.querySelectorAll('svg.chart text')].map("
        "t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened, scheme):
    page = opened(DESK, scheme)
    (paper,) = {colour(page.execute_script("return getComputedStyle(document.body).background"))}
    assert (sum(paper[:3]) < 384) == (scheme == "dark")
    found = styles(page, "h1,h2,h3,p,a:not(.skip),td,th,caption span,dt,dd,summary,b", ["color"])
    assert len(found) > 100
    assert min(contrast(colour(text), paper) for (text,) in found) >= 4.5
    labels = styles(page, "svg.chart text", ["fill"])
    assert len(labels) > 100
    assert min(contrast(colour(text), paper) for (text,) in labels) >= 4.5
    lines = page.execute_script(
        "return [...document.querySelectorAll('svg.chart path')].map("
        "p => getComputedStyle(p).stroke).filter(s => s.startsWith('rgb'))"
    )
    assert max(contrast(colour(line), paper) for line in lines) >= 3


def test_numbers_on_the_cells_of_the_matrix_stand_out(opened):
    for scheme in ("light", "dark"):
        page = opened(DESK, scheme)
        paper = colour(page.execute_script("return getComputedStyle(document.body).background"))
        ink = colour(page.execute_script("return getComputedStyle(document.body).color"))
        cells = page.execute_script(
            "return [...document.querySelectorAll('svg[aria-label^=Confusion] path')].map("
            "p => [getComputedStyle(p).fill, getComputedStyle(p).opacity])"
        )
        washed = [(colour(fill), float(opacity)) for fill, opacity in cells if float(opacity) < 1]
        assert len(washed) >= 10
        for fill, opacity in washed:
            mixed = [opacity * f + (1 - opacity) * p for f, p in zip(fill, paper, strict=True)]
            assert contrast(ink, mixed) >= 4.5


def test_print_is_dark_on_white_even_in_the_dark(opened):
    page = opened(DESK, "dark", "print")
    paper = colour(page.execute_script("return getComputedStyle(document.body).background"))
    assert paper[:3] == (255, 255, 255)
    ink = colour(page.execute_script("return getComputedStyle(document.body).color"))
    assert contrast(ink, paper) > 10
    assert not page.find_element(By.TAG_NAME, "nav").is_displayed()
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 25


def test_the_keyboard_leads_everywhere(opened):
    page = opened(DESK)
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = page.switch_to.active_element
    assert skip.text == "Skip to the report"
    assert skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "main"
    summary = page.find_element(By.TAG_NAME, "summary")
    details = summary.find_element(By.XPATH, "..")
    assert details.get_attribute("open") is None
    summary.send_keys(Keys.ENTER)
    assert details.get_attribute("open") is not None
    assert "solid" in page.execute_script(
        "return getComputedStyle(document.activeElement).outlineStyle"
    )


def test_a_screen_reader_is_told_what_every_picture_shows(opened):
    page = opened(DESK)
    page.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    pictures = [name for role, name in named if role == "image"]
    assert len(pictures) > 30
    assert all(len(name) > 8 for name in pictures)
    assert all(name for role, name in named if role in ("table", "region", "link", "navigation"))
    assert {role for role, _ in named} >= {"main", "navigation", "contentinfo", "banner", "table"}

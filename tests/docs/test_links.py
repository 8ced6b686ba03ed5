"""Links between the pages lead somewhere. Nothing is fetched."""

import re

import pytest

from .blocks import PAGES, ROOT, without_fences

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """Return the anchors that GitHub and the site make of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page, text):
    for link in LINK.findall(text):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.is_file() or (anchor and anchor not in anchors(str(target.resolve().relative_to(ROOT)))):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", without_fences(page))
    assert list(broken(page, text)) == []


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/head.md#nowhere", "#nowhere"])
def test_a_link_that_leads_nowhere_is_found(link):
    assert list(broken("README.md", f"[text]({link})")) == [link]


@pytest.mark.parametrize("link", ["docs/head.md", "docs/deploying.md#object-stores", "#why", "docs/demo.svg"])
def test_a_link_that_leads_somewhere_is_fine(link):
    assert list(broken("README.md", f"[text]({link})")) == []


def test_every_page_of_the_site_is_in_its_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert {page for page in pages if f": {page}\n" not in navigation} == set()

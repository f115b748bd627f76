"""`web_scraping_task`: a page of the web, read."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.tasks.services import ServiceTask, text_in


class WebScrapingTask(ServiceTask):
    """Fetches a page, and gives what a reader sees of it."""

    name = "web_scraping_task"
    summary = "Fetches a page, HTML or PDF; the output is `{url, title, text, links, content_type}`."
    guarantees = (
        "Pages may be fetched more than once. robots.txt is obeyed; addresses of the worker's own network are refused, "
        "behind redirects and changing names too, unless FETCH__ALLOWED_HOSTS lists them; size and time are bounded."
    )
    example = """\
name: "Reader"
input_variables:
  page_url: {type: string}
tasks:
  - name: "page"
    type: "web_scraping_task"
    url: "{{ page_url }}"
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The page."""
        text_in(options, "url")
        return "read", options

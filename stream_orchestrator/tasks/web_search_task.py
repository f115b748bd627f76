"""`web_search_task`: a question to a search engine."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.tasks.services import ServiceTask, count_in, text_in


class WebSearchTask(ServiceTask):
    """Asks the configured search engine."""

    name = "web_search_task"
    summary = "Searches the web; the output is `{query, results: [{title, url, snippet}]}`."
    guarantees = "A search may be made more than once. It goes to the engine of SEARCH__URL and nowhere else."
    example = """\
name: "Finder"
input_variables:
  topic: {type: string}
tasks:
  - name: "found"
    type: "web_search_task"
    query: "{{ topic }} review"
    max_results: 5
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The query."""
        text_in(options, "query")
        return "search", {**options, "max_results": count_in(options, "max_results", 10, most=100)}

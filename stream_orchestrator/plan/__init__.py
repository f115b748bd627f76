"""Documents in, a Plan out: graph, bound templates, bound scripts, names."""

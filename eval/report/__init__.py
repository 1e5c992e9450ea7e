"""Results: from finished runs to tables, plots and one page."""

"""Pictures, the demonstration's sections, and the HTML report."""

"""Tools for the escape from dimensional collapse, in ball arithmetic."""

"""What the runs of a study show together: tables, intervals and Figure 3."""

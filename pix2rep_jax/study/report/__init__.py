"""What the runs of a study say together: tables, intervals and Figure 3."""

"""Parts of an HTML page that needs nothing beside itself: charts, tables, pictures.

Numbers and figures come in, text goes out. Run folders and scans are not read here.
"""

"""From files to slices: reading, preprocessing, splitting and caching scans."""

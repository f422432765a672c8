"""Results -> images: what the page and a paper show of an analysis.

No model runs here; arrays and result types come in, arrays and figures go out.
"""

"""python -m arraycnn"""

from arraycnn.cli import main

main()

# Nobody reads its words, and it goes on.
import os
import time

os.closerange(0, 256)
time.sleep(300)

"""Be a worker of pytest-xdist, which is told what to run on its standard input."""

if __name__ == "__main__":  # what a test spawns imports this, too
    with open(0, closefd=False) as told:
        exec(eval(told.readline()))

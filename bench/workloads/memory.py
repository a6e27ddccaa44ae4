TITLE="memory"
def run(run):
    raise NotImplementedError

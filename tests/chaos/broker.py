"""The log is at a Redis that is killed and started again under load, and the learner with it now and then."""
import random
import shutil
import signal
import time
from pathlib import Path

from tests.brokers import MISSING, REDIS, RedisServer
from tests.chaos.clients import Generations, Load, Server, Writer, goes_on

NOT_RUN = {"not run": MISSING}


def restarts(nursery, folder, times, with_learner, seed=0, report=lambda done: None, **settings):
    """kill -9 of redis-server under load, and of the learner with it now and then: nothing acknowledged is lost, nothing is
    doubled, a learner that lives goes on by itself, and each state is that of an uninterrupted run.

    `settings` go to `children.serve`.
    """
    if not REDIS:
        return NOT_RUN
    rng, folder, writers = random.Random(seed), Path(folder), [Writer(f"w{i}") for i in range(3)]
    generations, both, resumed, server, away = Generations(folder), set(rng.sample(range(times), with_learner)), set(), None, []
    with RedisServer(folder / "redis") as broker:
        for done in range(times):
            if server is None:
                server = Server(nursery, folder, "--log", broker.log(), **settings)
                assert server.ready()
                resumed.add(server.began)
            with Load(server.port, writers) as load:
                load.until(rng.randrange(30, 200))
                broker.kill()
                began = time.monotonic()
                time.sleep(rng.uniform(0.0, 0.4))
                if done in both:
                    server.child.signal(signal.SIGKILL)
                    assert server.child.wait() == -signal.SIGKILL
                broker.start()
                if done not in both:        # the same process, by itself
                    load.until(30)
                    away.append(time.monotonic() - began)
            if done in both:                # nobody changes the state files now
                server = None
                generations.check()
            report(done + 1)
        stats, figures = goes_on(nursery, folder, writers, server, generations, **settings)
    assert stats["state_sha256"] == figures["state_sha256"]
    return {"kills of the broker": times, "with the learner killed, too": with_learner,
            "distinct positions resumed from": len(resumed), "seconds until 30 events more were acknowledged, at most": round(max(away, default=0.0), 1), **figures}


def lost_end(nursery, folder):
    """The broker comes back with data older than the newest state: the service stops and says why; once it has the data, it goes on."""
    if not REDIS:
        return NOT_RUN
    folder, writers = Path(folder), [Writer(f"w{i}") for i in range(2)]
    with RedisServer(folder / "redis") as broker:
        server = Server(nursery, folder, "--log", broker.log())
        assert server.ready()
        with Load(server.port, writers) as load:
            load.until(300)
        older = server.settled()["stored"]
        broker.kill()
        shutil.copytree(folder / "redis", folder / "older")
        broker.start()
        with Load(server.port, writers) as load:
            while server.ask("GET", "/v1/stats")[1]["committed"] <= older:
                load.until(50)
            broker.kill()
            (folder / "redis").rename(folder / "newest")
            shutil.copytree(folder / "older", folder / "redis")
            broker.start()
            code = server.child.wait(60)
        assert code == 1 and "the broker has lost events" in server.child.printed, (code, server.child.printed)
        again = Server(nursery, folder)
        code_again = again.child.wait(60)
        assert code_again == 2 and "the state is ahead of the log" in again.child.printed, (code_again, again.child.printed)
        broker.kill()
        shutil.rmtree(folder / "redis")
        (folder / "newest").rename(folder / "redis")
        broker.start()
        _, figures = goes_on(nursery, folder, writers)
        return {"exit code while running": code, "exit code of a new start": code_again, **figures}

"""The comparison with Apache Kafka must find what differs, and nothing else: `python3 -m unittest` in this folder."""

import sys
import unittest

sys.dont_write_bytecode = True
import batches  # noqa: E402
from peers import NIL, Side, differences  # noqa: E402


class FakeNode:
    """A node that is never asked."""


def side(port, first_epoch=0):
    """A side that speaks with nobody."""
    one = Side.__new__(Side)
    one.nodes, one.first_epoch, one.ordered = [FakeNode()], first_epoch, False
    one._names = {("port", port): "port of 1"}
    return one


def compared(kafka, varve):
    """Where two answers differ, each as its side would show it."""
    one, other = side(1000), side(2000, first_epoch=1)
    for each, answer in ((one, kafka), (other, varve)):
        each.learn(answer)
    return [path for path, *_ in differences(one._comparable(kafka), other._comparable(varve))]


def topic(name, topic_id, **fields):
    return {"errorCode": "NONE", "name": name, "topicId": topic_id, **fields}


class Comparison(unittest.TestCase):
    def test_what_each_cluster_has_of_its_own_is_equal(self):
        now = batches.now()
        kafka = {"port": 1000, "clusterId": "a", "leaderEpoch": 4, "timestamp": now, "topics": [topic("t", "x")]}
        varve = {"port": 2000, "clusterId": "b", "leaderEpoch": 5, "timestamp": now + 9, "topics": [topic("t", "y")]}
        self.assertEqual(compared(kafka, varve), [])

    def test_values_that_differ_are_found(self):
        kafka = {"port": 1000, "clusterId": None, "leaderEpoch": 4, "timestamp": 7, "offset": 1, "list": [1, 2]}
        varve = {"port": 2001, "clusterId": "b", "leaderEpoch": 4, "timestamp": 8, "offset": 2, "list": [2, 1]}
        self.assertEqual(
            compared(kafka, varve), ["port", "clusterId", "leaderEpoch", "timestamp", "offset", "list[0]", "list[1]"]
        )

    def test_the_id_of_another_topic_is_found(self):
        kafka = {"topics": [topic("t", "x"), topic("u", "y")], "asked": {"topicId": "x"}}
        varve = {"topics": [topic("t", "x"), topic("u", "y")], "asked": {"topicId": "y"}}
        self.assertEqual(compared(kafka, varve), ["asked.topicId"])
        self.assertEqual(compared({"topicId": NIL}, {"topicId": "y"}), ["topicId"])

    def test_what_is_missing_on_either_side_is_found(self):
        kafka = {"topics": [topic("t", "x"), topic("u", "y")], "more": 1}
        varve = {"topics": [topic("v", "z"), topic("t", "x")]}
        self.assertEqual(compared(kafka, varve), ["topics.u", "topics.v", "more"])

    def test_one_that_comes_twice_is_found(self):
        self.assertEqual(compared({"topics": [topic("t", "x")]}, {"topics": [topic("t", "x")] * 2}), ["topics.t again"])

    def test_of_two_verdicts_only_the_verdicts_are_told(self):
        kafka = {"topics": [topic("t", "x", numPartitions=3)]}
        varve = {"topics": [{**topic("t", NIL), "errorCode": "INVALID_REQUEST"}]}
        self.assertEqual(compared(kafka, varve), ["topics.t.errorCode"])

    def test_words_count_only_by_being_there(self):
        self.assertEqual(compared({"errorMessage": "one"}, {"errorMessage": "another"}), [])
        self.assertEqual(compared({"errorMessage": None}, {"errorMessage": "one"}), ["errorMessage"])


if __name__ == "__main__":
    unittest.main()

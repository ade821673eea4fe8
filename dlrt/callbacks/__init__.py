"""Callbacks that report on low-rank models and keep their variables small."""

from dlrt.callbacks.adapt_capacity import AdaptCapacity as AdaptCapacity
from dlrt.callbacks.evolve import Evolve as Evolve
from dlrt.callbacks.history_log import HistoryLog as HistoryLog
from dlrt.callbacks.history_log import read_history as read_history
from dlrt.callbacks.history_log import read_table as read_table
from dlrt.callbacks.rank_log import RankLog as RankLog

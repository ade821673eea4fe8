"""Callbacks that report on low-rank models and keep their variables small."""

from dlrt.evolution.evolve import Evolve as Evolve
from dlrt.history.history_log import HistoryLog as HistoryLog
from dlrt.history.rank_log import RankLog as RankLog
from dlrt.history.workbook import read_history as read_history
from dlrt.history.workbook import read_table as read_table
from dlrt.training.adapt_capacity import AdaptCapacity as AdaptCapacity

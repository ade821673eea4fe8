"""Copies of models with layers replaced: by low-rank or dense ones, or for export.

To include your own kind of layer, pass a `Family` to `register_family`.
"""

from dlrt.surgery.copies import copy_layer as copy_layer
from dlrt.surgery.families.base import Family as Family
from dlrt.surgery.families.base import OneKernel as OneKernel
from dlrt.surgery.families.base import register_family as register_family
from dlrt.surgery.rebuild import rebuild as rebuild
from dlrt.surgery.replacements import Replacement as Replacement
from dlrt.surgery.replacements import bias_of as bias_of
from dlrt.surgery.replacements import chain_layers as chain_layers
from dlrt.surgery.replacements import config_of as config_of
from dlrt.surgery.replacements import first_config as first_config
from dlrt.surgery.replacements import last_config as last_config

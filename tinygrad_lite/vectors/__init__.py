"""Word and other vectors: read and teach them, find their neighbours, cluster them without saying how many clusters."""
from .clusters import chinese_whispers, dbscan
from .estimators import DBSCAN, ChineseWhispers
from .bundle import SubwordVectors, load, open_bundle, save_bundle
from .fasttext import FastText
from .format import FormatError
from .layout import neighbour_layout, pca, plot_clusters
from .neighbours import Neighbours, knn_graph
from .page import clusters_page
from .scores import cluster_names, exemplars, nmi, purity
from .subwords import Subwords
from .teach import teach_ngrams
from .text_formats import read_vectors, save_text, save_word2vec
from .training import train
from .words import WordVectors

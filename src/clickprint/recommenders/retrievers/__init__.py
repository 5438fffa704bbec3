"""Sources of candidates, one file each; SOURCES names them for recipes."""

SOURCES = {
    "own": "clickprint.recommenders.retrievers.history:Own",
    "open-baskets": "clickprint.recommenders.retrievers.history:OpenBaskets",
    "again": "clickprint.recommenders.retrievers.repurchase:Again",
    "popular": "clickprint.recommenders.retrievers.popular:Popular",
    "tifu-knn": "clickprint.recommenders.retrievers.baskets:TIFUKNN",
    "up-cf": "clickprint.recommenders.retrievers.baskets:UPCF",
    "co-visits": "clickprint.recommenders.retrievers.covisits:CoVisits",
    "nearest": "clickprint.recommenders.retrievers.vectors:Nearest",
    "encoder": "clickprint.recommenders.retrievers.vectors:Encoded",
    "popular-in": "clickprint.recommenders.retrievers.popular:PopularIn",
}

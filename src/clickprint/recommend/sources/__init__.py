"""Sources of candidates, one file each; SOURCES names them for recipes."""

SOURCES = {
    "own": "clickprint.recommend.sources.own:Own",
    "open-baskets": "clickprint.recommend.sources.own:OpenBaskets",
    "again": "clickprint.recommend.sources.again:Again",
    "popular": "clickprint.recommend.sources.popular:Popular",
    "tifu-knn": "clickprint.recommend.sources.baskets:TIFUKNN",
    "up-cf": "clickprint.recommend.sources.baskets:UPCF",
    "co-visits": "clickprint.recommend.sources.covisits:CoVisits",
    "nearest": "clickprint.recommend.sources.vectors:Nearest",
    "encoder": "clickprint.recommend.sources.vectors:Encoded",
    "popular-in": "clickprint.recommend.sources.popular:PopularIn",
}

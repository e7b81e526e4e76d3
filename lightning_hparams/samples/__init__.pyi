from .samples import (
    NEEDED as NEEDED,
    Look as Look,
    Sample as Sample,
    badness as badness,
    check_output as check_output,
    classes_of as classes_of,
    draw as draw,
    first_of_each as first_of_each,
    pick as pick,
    probabilities as probabilities,
    tidied as tidied,
    worst_of as worst_of,
)

# %% [markdown]
# # D · A plan for lecturers
#
# Three plans, what to show and draw, where students' intuition goes wrong and what helps: read from the chapters as they are today.
#
# *read 25 min · run 15 s CPU*
#
# **For** the question "how do I teach this?" · **Library** [`minim2f/book/editions.py`](../minim2f/book/editions.py), [`minim2f/book/exercise.py`](../minim2f/book/exercise.py)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% [markdown]
# ## How to read it
#
# Minutes, stars and headings on this page come from the chapters themselves. A chapter's card says how many minutes a new
# reader needs for the text and for all exercises together. Here the exercise minutes are shared out by stars: two stars count
# twice as much as one, three stars four times. Cells for class carry the tag `demo` in a chapter's source; tag your own, build
# this page again, and they appear below.

# %% tags=["hide-input"]
import re

from IPython.display import Markdown, display

from minim2f.book.cells import FENCE, tags
from minim2f.book.chapter import chapters
from minim2f.book.editions import lecture
from minim2f.book.exercises import of_chapter

book = {c.number: c for c in chapters() if not c.is_page and c.notebook.exists()}


def headings(text):
    return re.findall(r"^#{1,3} (.+?)\s*$", FENCE.sub("", text), re.MULTILINE)


def shown(number):
    """Heading -> how many code cells stand under it in the lecture edition."""
    count, here = {}, ""
    for cell in lecture(book[number].built).cells:
        if cell.cell_type == "markdown":
            here = (headings(cell.source) or [here])[-1]
        if "demo" in tags(cell):
            count[here] = count.get(here, 0) + (cell.cell_type == "code")
    return count


def minutes(number):
    """A chapter's minutes to read, and for its exercises."""
    card = book[number].built.cells[0].source
    return [int(n) for n in re.search(r"read (\d+) .* exercises (\d+)", card).groups()]


def link(number):
    if number not in book:
        return number
    title = headings(book[number].built.cells[0].source)[0].partition(" · ")[2].partition(":")[0]
    return f"[{number} {title}]({book[number].notebook.name})"


def duties(number):
    """Exercise -> stars and minutes."""
    found = dict(re.findall(r"^### (\w+\.\d+) (★+) ", book[number].text, re.MULTILINE))
    weights = {id_: 2 ** (len(stars) - 1) for id_, stars in found.items()}
    each = minutes(number)[1] / sum(weights.values())
    return {id_: (found[id_], max(5, 5 * round(w * each / 5))) for id_, w in weights.items()}


demos = {number: shown(number) for number in book}
homework = {id_: duty for number in book for id_, duty in duties(number).items()}
read, tried = map(sum, zip(*map(minutes, book)))
print(f"{len(book)} chapters: {read / 60:.0f} hours to read, {tried / 60:.0f} for {len(homework)} exercises")

# %% [markdown]
# ## Plans
#
# A session has 90 minutes. Numbers such as 15 · 20 · 40 · 15 are minutes for the last homework, for the question under
# *Predict* and the board, for the demo, and for discussion. *Show* names the headings of demo cells; what they show stands
# in the table of demos below. Let students answer *Predict* in writing before they see anything: a wrong guess
# that was written down starts the best discussions.

# %% tags=["hide-input"]
def task(id_):
    return f"{id_} {homework[id_][0]} {homework[id_][1]} min" if id_ in homework else id_


def plan(text):
    lines, reading = [], []
    for unit, numbers, split, show_, board, ids in (x.split(" | ") for x in text.strip().split("\n")):
        assert sum(map(int, split.split(" · "))) == 90 or "·" not in split, split
        for number, heading in (place.split(" ", 1) for place in show_.split("; ")):
            assert number not in book or heading in demos[number], (number, heading, demos[number])
        there = [n for n in numbers.split() if n in book]
        total = sum(homework[i][1] for i in ids.split() if i in homework)
        reading.append(sum(minutes(n)[0] for n in there))
        todo = "<br>".join(map(task, ids.split())) + f"<br>together {total} min" * (" " in ids and total > 0)
        chapters_ = ", ".join(map(link, numbers.split())) + f"<br>read {reading[-1]} min" * (reading[-1] > 0)
        lines.append([unit, chapters_, split, show_.replace("; ", "<br>"), board, todo])
    table(["unit", "chapters", "minutes", "show", "on the board", "homework"], lines)
    return reading


# %% [markdown]
# ### One session
#
# For people who will not read the book. Each row is a part of the one session; the last 15 minutes are for questions.

# %% tags=["hide-input"]
short = plan("""
Why not a class for each pixel? | 1 | 10 | 1 The idea in small numbers | two touching cars, and their map of classes: one blob | 1.1
What is predicted | 0 | 25 | 0 The minute; 0 The idea in small numbers; 0 Switch them off, one by one | three masks of 4 × 4 cells, one contested pixel, read in three ways | 0.1
Look where your mask was | 7 | 20 | 7 The idea in small numbers; 7 One query's attention, with and without its mask | scores of 3 queries at 4 cells, a mask, −∞, the softmax before and after | 7.1
Who learns what | 9 | 20 | 9 The idea in small numbers; 9 Greedy | the table of kite and boat: 1, 2, 1.5, 9 | 9.1
""")

# %% [markdown]
# ### Three sessions
#
# What goes in and comes out, how it is made, how it is learned and judged. Data, backbone, deformable attention, training loop and
# speed are left to readers.

# %% tags=["hide-input"]
three = plan("""
1 · Masks with a class each | 0 1 12 | 0 · 35 · 40 · 15 | 0 The minute; 0 Every query, its mask and its class; 0 Switch them off, one by one; 1 What a query is for; 12 Break it | the 4 × 4 picture of chapter 0; the flow of the panoptic rule: sure, wins, keeps 80 % | 0.1 1.1 1.2 12.3
2 · From a picture to masks | 4 6 7 8 | 15 · 25 · 40 · 10 | 4 What a stride costs; 6 Twins; 7 The idea in small numbers; 7 One query's attention, with and without its mask; 8 How masks sharpen | the road of the map with its shapes; E' times F_pixel as one row times one column | 4.1 7.1 7.2 8.1
3 · How it learns, how good it is | 9 10 13 | 15 · 25 · 35 · 15 | 9 The idea in small numbers; 9 Greedy; 10 Look; 13 TP, FP, FN; 13 Three scores of one output | one price: −2 p + 5 BCE + 5 dice; two balls, three scores | 9.1 9.2 10.1 13.1
""")

# %% [markdown]
# ### Seven weeks
#
# One session a week. The reading is done before it, the homework after it; weeks 4 and 6 have the most reading. Three stars and appendix E are for volunteers.
# In week 7 every student brings a break-it of their own: one line changed in the library, with its symptom and the test that would
# have found it.

# %% tags=["hide-input"]
weeks = plan("""
1 · The question | 0 1 | 0 · 30 · 40 · 20 | 0 The minute; 0 The idea in small numbers; 0 Switch them off, one by one; 1 The idea in small numbers; 1 What a query is for | the 4 × 4 picture in three readings; two touching cars | 0.1 0.2 1.1 1.2
2 · Truth and features | 2 3 | 15 · 20 · 40 · 15 | 2 Resize a map of names; 2 Blue first; 3 What a cell sees; 3 The stride in the wrong place | three fates of a pixel: target, crowd, void; a field that grows 1, 3, 7 | 2.1 2.2 3.1 3.3
3 · A map to draw masks on | 4 5 | 15 · 25 · 35 · 15 | 4 What a stride costs; 4 Half a cell; 5 The idea in small numbers; 5 What it costs | centres at 0.5 and 1.5 of two cells; four cells around one place, with their shares | 4.1 4.2 5.1 5.2
4 · Queries that look | 6 7 8 | 15 · 25 · 40 · 10 | 6 What and where; 6 Twins; 7 The idea in small numbers; 7 Rescue; 8 How masks sharpen | one layer: look, talk, feed-forward network; a row of scores that is −∞ everywhere | 6.1 6.3 7.1 7.2 8.1
5 · Who learns what | 9 10 | 15 · 25 · 35 · 15 | 9 The idea in small numbers; 9 Greedy; 10 The division; 10 Look | the table of kite and boat; two pictures, one with a single segment | 9.1 9.2 9.3 10.1 10.2
6 · Learned, read, judged | 11 12 13 | 15 · 20 · 40 · 15 | 11 Look; 11 A NaN hunt; 12 Break it; 13 TP, FP, FN; 13 Scored on the training pictures | AdamW's two means for gradients 1, −100, 1; PQ of the two balls | 11.2 11.4 12.2 13.1 13.3
7 · What carries the weight | 14 15 | 15 · 15 · 30 · 30 | 14 The same seed is not the same start; 15 Weights that were never loaded | two rows of five scores: overlapping as rows, apart as columns | 14.1 14.3 15.1 15.2
""")
assert {weeks[3], weeks[5]} == set(sorted(weeks)[-2:])  # what the text above says

# %% [markdown]
# ## Demos
#
# `make lecture` (or `python -m minim2f book lecture`, with a chapter's number if you like) writes notebooks with nothing but these cells to
# `out/lecture`. Their outputs are stored in them, so a demo can be shown without being run. Seconds are for a run from start to
# end, its start included, with one thread of a busy server; they were taken twice, and depend more on what else the machine does than on the chapter. The last
# column is the moment to wait for: ask before you run that cell.

# %% tags=["hide-input"]
# chapter, its demo cells then, seconds of two runs; where the cells are others now, "not measured"
MEASURED = """
0 18 24 10
1 11 20 7
2 18 25 8
3 21 27 12
4 17 13 7
5 16 20 11
6 8 12 8
7 10 15 15
8 13 15 12
9 15 31 19
10 11 7 13
11 9 8 12
12 10 6 10
13 19 7 20
15 20 41 56
E 7 5 15
"""
MOMENTS = """
0 | Switch them off, one by one | a silenced car leaves void in the panoptic map, and no hole in the semantic one
1 | The idea in small numbers | drawings with different numbers of cars have the same map of classes
2 | Resize a map of names | bilinear resizing makes up segments that nobody listed
3 | What a cell sees | the influence fills only the middle of what a cell can see
4 | What a stride costs | one doubling of the stride, from 8 to 16, costs more than all before it
5 | What it costs | twice the side: some 16 times as long with full attention
6 | Twins | sixteen times the same mask, and no error
7 | One query's attention, with and without its mask | the same query, spread over the picture, then held to its object
8 | How masks sharpen | queries that have seen nothing already draw most segments of a simple scene
9 | Greedy | one price grows, greedy's total grows with it, the best total stays
10 | Look | points gather where the mask is unsure
11 | Look | a model that knows nothing learns one picture by heart in forty steps
12 | Break it | the column in which a broken model's queries are lost
13 | TP, FP, FN | a boat that is cut in two counts as three mistakes
14 | The same seed is not the same start | equal seeds, and not one tensor of the decoder is equal
15 | Weights that were never loaded | nothing arrived, and nothing complained
E | The idea in small numbers | the same result in another order, with fewer products
"""
seconds = {}
for number, cells, *took in (line.split() for line in MEASURED.strip().split("\n")):
    if number in book and sum(demos[number].values()) == int(cells):
        low, high = sorted(map(int, took))
        seconds[number] = f"{5 * (low // 5)} to {5 * -(-(high + 1) // 5)}"
lines = []
for number, heading, moment in (line.split(" | ") for line in MOMENTS.strip().split("\n")):
    assert number not in book or heading in demos[number], (number, heading, demos[number])
    parts = "; ".join(f"{part} ({n})" for part, n in demos.get(number, {}).items() if n)
    lines.append([link(number), seconds.get(number, "not measured"), parts, f"*{heading}*: {moment}"])
table(["chapter", "seconds", "parts (code cells)", "what to wait for"], lines)

# %% [markdown]
# ## One page to play with
#
# `make play` writes `out/play.html`, one file without a network: a dozen scenes, the real numbers of `tiny`, and switches for queries,
# thresholds and layers. A quarter of an hour with it, in place of a demo of chapters 0, 7 and 12:
#
# 1. Scene 96. *How many cars?* One class of cars in the semantic map; two cars in the other results.
# 2. Point at the lighthouse. Hardly a vote, and the largest wins: semantic has no void. Panoptic says why it is void.
# 3. *Predict*, then switch a car's query off: the instance goes, void grows, the semantic map gets another class.
# 4. *Raw queries*, *show M*, the sky's query: 3 × 3 cells. Step on to 6 × 6 and 12 × 12; empty masks may look everywhere.
# 5. Raw queries again, score threshold up: cars go first, as "not sure enough", at last all but the sky.
# 6. Score threshold at 0.3, overlap threshold from 0 to 1: a share is what was won of the query's own mask, and may exceed 1.
# 7. The last layer, top-k down to 3: no instance is left, since stuff took all places.
# 8. *All off*, then the sky's query alone: for the semantic map all is sky.
#
# The page's address keeps the state, so each step can be a bookmark.

# %% [markdown]
# ## Questions to discuss
#
# In each of them the first answer of most people is wrong, or was wrong when this book was written: many are hypotheses that failed. The answer
# names the part of the chapter that shows it.

# %% tags=["hide-input"]
QUESTIONS = """
0 | Break it | The softmax runs over the queries instead of the classes, and the semantic map looks right. Is the code right? | No. A class that only one query likes keeps that query's mask. But two cars share their column, so they cannot both be surer than 0.8, and the panoptic map loses one. Test once that each row of probabilities adds up to 1.
0 | Switch them off, one by one | You silence the query of a car. Why is there no hole in the semantic map? | It has no void and no threshold: each pixel goes to the class that now has the most votes, however few.
0 | Experiment | The eight idlest of sixteen queries can be switched off for free, on average. Would half as many do? | Not for the fullest picture. N is a ceiling, not a count.
1 | The idea in small numbers | Would a better per-pixel network count touching cars better? | No. Pictures with different counts have one and the same map of classes. Right counts are luck, and a worse map can have more of it.
1 | Would names help? | Then let the classes be "car 1" and "car 2". What is wrong with that? | The names are not in the picture. Counted from the left, one new car renames all others; in any other order a pixel learns both names equally often.
1 | Break it | Two queries draw the same car. Which result shows it? | The list of instances, as a double. In the panoptic map an exact twin hides; two that differ a little each win too small a part, and the car vanishes.
2 | Resize a map of names | A map of ids is resized bilinearly. Does it only blur the borders? | Halfway between two ids lies a third one. With PyTorch about one pixel in twelve becomes nobody's at every size, with PIL more than half at an eighth.
2 | Blue first | The bytes are read as blue, green, red. Do segments fall apart or merge? | Neither: each id becomes one other id, and the drawn map looks fine. The targets are empty.
2 | Void as class 0 | The IoU of the first class is far below all others. Is it a hard class? | Look at its truth first: void may have been written as 0, which is a class.
3 | What a cell sees | A cell of res5 can see a square of 195 pixels. Does it use it, and more of it after training? | Nine tenths of the influence lie in a much smaller square, and 300 steps of training made it narrower still, against our hypothesis.
3 | The stride in the wrong place | Weights load without an error, and PQ is a little lower than published. Are they in the right places? | Not shown. A stride moved to the next layer fits all shapes, changes the maps by more than half, and costs less than 0.1 PQ. Compare maps.
4 | What a stride costs | Does every doubling of the stride cost the same? | No: from 8 to 16 more than all before it. There, mixing pulls the peaks of small segments below one half.
4 | Masks that are not honest | No cell is more than half covered. Is the segment lost? | If cells tell the covered share, yes. But training rewards what works, and one loud cell among silent neighbours draws a small spot.
5 | Do learned places pay? | Places that learn must beat places that stay. Do they? | Not shown in our runs: ahead with two seeds, behind with the third by more than both gains.
5 | Where do they go? | Surely places move into the segment of the cell that asks? | They do not, in any seed. The result is added to the cell, which keeps what it had, so it may look elsewhere; that reason is a guess.
6 | Look first or talk first? | What can queries tell each other about a picture before they have looked? | Nothing: they are the same vectors for every picture.
6 | What makes a query: its content or its position? | Take the queries' positions away from the trained model. What is lost? | Hardly more than one class, sea. Here the content makes the query; a prediction is read off it.
6 | Twins | Two queries are equal. Will training part them? | Only if one is matched and they can learn: matched ones get gradients of their own, the others stay twins in this step.
7 | Leave the rescue out | A mask is empty at 1/32, and nobody rescues it. Will you notice? | With NaN, yes. With an attention that returns zeros, no: in this trained model PQ does not even fall.
7 | How can it find what it does not look at? | Models without masks put little more of their attention on an object than its share of the area. How do they find it at all? | A raw query is already a filter over all pixels of F_pixel. How the layers then add to that without masks is open; say so.
8 | Shapes | The raw queries are the same for every picture. Are their masks? | Their classes are, their masks are not: these are products with F_pixel.
8 | Experiment | A loss on every prediction makes the last one better, does it not? | Not here: within 0.02 PQ in every pair. It makes all the others usable.
8 | Heads without the norm | The norm before the heads is forgotten. How far does the IoU fall? | To two digits, not at all. Pictures do not show it; a comparison of logits does.
9 | Greedy | Is the cheapest pair of the table always in the best assignment? | No: 1 + 9 = 10, but 1.5 + 2 = 3.5.
9 | Why is the cost not the loss? | Why not match by the loss itself? | −ln p has no bound, so one small probability outweighs a good mask. With −p the better mask can still win, and the loss then mends its class.
9 | Greedy | A matcher gives the same total when segments are shuffled. Is it exact? | Not yet: cheapest cell first passes this test, too. Compare with SciPy or with all permutations.
10 | Does it pay to look at the hard places? | Points at unsure places estimate the loss better, don't they? | Worse: they overstate BCE about threefold, and it scatters more. What improves is the gradient's noise in relation to its length.
10 | The mean of each picture's own mean | Does the same mistake cost the same in a full and in an empty picture? | With a mean of means it does not. That is why the sum is divided by the segments of the batch.
10 | A loss on probabilities | A sigmoid, then PyTorch's loss for probabilities: what does the surest mistake teach? | Nothing: in float32 its gradient is 0.
11 | The idea in small numbers | Clipping makes the gradient 7,000 times shorter. Does training become slower? | Hardly. AdamW divides by the recent size. Clipping only keeps one batch from outweighing the others.
11 | A NaN hunt | The matcher reports a NaN. Is the matcher wrong? | It is only the first that looks. The cause lay in a pixel, or in a rate.
12 | Experiment | On noisy pictures PQ is low. Which threshold mends it? | None: what is wrong there is mostly as sure as what is right.
12 | Break it | Every query is doubled: the same classes, masks that differ from pixel to pixel. Which result suffers most? | The panoptic map, which is empty: each twin wins about half of its mask. The semantic map hardly changes.
12 | Break it | A model always finds 100 instances. Does it see 100 things? | It lists the 100 best pairs of a query and a class. For a picture, set a score threshold.
13 | Which mistake does which score see? | All masks move by one pixel. Which score hurts most? And when all balls are merged into one? | AP the first, and RQ not at all. The second mIoU does not see.
13 | A class that never occurs | A class is neither in truth nor in prediction. Is that 0, 1 or nothing? | Nothing: it is left out of the mean. A class that is only invented counts, with 0.
13 | The mean of the pictures' scores | Two of ten balls are found, and PQ is 0.51. How? | By averaging pictures. Add up the counts, and divide once.
14 | Predict | Five scores each, and the ranges overlap. Can the difference be sure? | Yes, if the runs are pairs: look at the differences within each seed.
14 | The same seed is not the same start | The seed is set before each model is built. Do both start alike? | No: one weight matrix less, and all later random numbers shift.
15 | Weights that were never loaded | <code>strict=False</code> raised no error, and the loss falls. Are the weights there? | Look at the first loss: it is that of random weights.
15 | Right masks, wrong names | The outlines are excellent, and mIoU is near 0. What happened? | The list of names was sorted. Numbers did not move, names did.
E | Predict | Products take 60 of 100 milliseconds in both programs. Can one be twice as fast? | No: 100 / 60 is the limit.
E | Break it | <code>out[bags] += terms</code> runs. What is wrong? | Of several values for one row it keeps one. Gradients are too small, and nothing crashes.
"""
for number in dict.fromkeys(line.split(" | ")[0] for line in QUESTIONS.strip().split("\n")):
    page = [f"**{link(number)}**"]
    for chapter, heading, question, answer in (line.split(" | ") for line in QUESTIONS.strip().split("\n")):
        if chapter == number:
            assert number not in book or heading in headings(book[number].text), (number, heading)
            page.append(f"<details><summary>{question}</summary>\n\n{answer} (*{heading}*)\n\n</details>")
    display(Markdown("\n\n".join(page)))

# %% [markdown]
# ## Typical wrong turns
#
# Every exercise knows the usual mistakes and has a sentence for each. Here are those that come from an idea and not from a slip.
# Do not correct the line; ask the question.

# %% tags=["hide-input"]
TURNS = """
0.1 | over which axis does your softmax | `softmax(0)` | the semantic map still looks right | What adds up to 1, and whose probabilities are they?
0.3 | 0.5 is where a probability turns | `mask_logits > 0.5` | "a mask is cut at one half" | Which logit has the probability one half?
1.2 | who is painted last stays on top | paints the best mask first | the best comes first in every list | Who is on top when you have finished?
2.1 | a byte holds 256 values | divides by 255 | 255 is the largest byte | How many values has a byte?
2.2 | a class is a place in the list | uses `category_id` as the class | it is called an id of the category | What is the largest id, and how many classes are there?
3.3 | a reshape alone cuts runs of cells | one `reshape` to windows | the shape is right | Which cells lie side by side in memory?
4.2 | half a cell is missing | reads at x · w | "pixel i is at i" | Where is the centre of the first cell?
5.2 | offsets count cells of the level that is read | divides by the asking cell's own level | a cell has one size | In which unit is this offset?
6.1 | that shuffles once more | `x[order]` once more | undoing looks like doing | Where does the query of row 0 belong?
6.3 | view or reshape alone mixes | `reshape(B, heads, N, d)` | the shape is right | Which axis is to be split, and which is to move?
7.1 | what is the softmax of a row | forgets the empty mask | small examples never have one | What does a query see that predicted no pixel?
7.2 | a threshold is not linear | cuts, then resizes | image programs resize masks | Which order lets a thin mast live?
7.3 | what does True mean to nn.MultiheadAttention | passes `allowed` as it is | PyTorch's other attention reads it so | What does True mean in this function's documentation?
8.4 | argmax of nothing but False | `argmax` for "the first True" | it works until nothing is True | What does it say of a row of False?
9.1 | class 0 is a real class | zeros for idle queries | zeros are the default | What would an idle query learn to say?
9.3 | that is the loss | −ln p in the cost | the loss has it | How much can one class outweigh two masks?
9.4 | the cheapest cell first | takes the cheapest cell, then the next | each step is the best | What does the last segment have to pay?
10.1 | a weighted mean divides by the sum | `(weights * paid).mean()` | it is a mean, and weighted | What comes out if every query pays 1?
10.2 | each part by its own segments | the mean of the parts' means | a mean of means looks like a mean | How much does a lone segment count?
10.3 | a very negative logit is a sure | takes the smallest logits | "unsure is small" | Which logit is the least sure?
11.2 | one length for the whole model | clips tensor by tensor | gradients come as a list | Does the step keep its direction?
12.2 | top_k counts stuff as well | drops stuff, then takes the best | what is dropped cannot compete | Which comes first in the published rule?
12.3 | only queries that are sure of a class compete | lets all queries compete | every mask is there | Who may win a pixel, who may keep it?
13.1 | add the counts of all pictures first | the mean of the pictures' PQ | every picture counts alike | How much should a picture with nine balls count?
"""
lines = []
for id_, hint, write, tempting, question in (line.split(" | ") for line in TURNS.strip().split("\n")):
    (asked,) = (each for each in of_chapter(id_.partition(".")[0]) if each.id == id_)
    assert any(wrong.hint.startswith(hint) for wrong in asked.wrong), (id_, hint)
    lines.append([id_, write, tempting, question])
table(["exercise", "what students write", "why it tempts", "the question that helps"], lines)
known = sum(len({w.hint for w in each.wrong}) for number in book for each in of_chapter(number))
print(f"{len(lines)} of {known} mistakes that the exercises have words for")

# %% [markdown]
# No checker sees the next ones. Readers who tried the chapters stumbled here:
#
# - Chapter 0, the panoptic rule: three steps that are read as one. Sure queries compete for a pixel; what a query *won*,
#   outside of its mask too, is compared with the size of its mask; what it *keeps* is cut to its mask. Let them compute 6 of 7.
# - Chapter 2: a pixel is target, crowd or void, and losses and metrics treat these differently. Draw it as a small table.
# - Chapters 4 and 5: pictures are indexed (y, x), points are (x, y), and centres lie at halves. Square pictures hide exchanged axes, so
#   give examples that are not square.
# - Chapter 7: that models without masks end about as well in these short runs is a finding, not a mistake. Let it stand, and ask what would decide it.
# - Chapters 9 and 10: cost and loss have the same three terms and are different things. One ranks and passes no gradient, the other teaches.
# - "The hypothesis failed, so the chapter is wrong." A failed hypothesis that was written down before is worth more than one that
#   was made to fit.

# %% [markdown]
# ## Reading paths
#
# The first four are those of the map in chapter 0. Minutes come from the cards.

# %% tags=["hide-input"]
map_ = book["0"].text
PATHS = {
    "An afternoon": "why masks are drawn on a map at 1/4 (4), how queries come to differ (6), what a mistake costs (10). You see that it works, and where its name comes from",
    "A course": "nothing but the appendices",
    "You know DETR": "what you know or can look up: data (2, if you bring your own), backbone, the plain pyramid",
    "You write fast code": "what all of it is for. E takes chapters 5, 7, 9 and 10 as known",
}
lines = []
for name, left_out in PATHS.items():
    (numbers,) = re.findall(rf"\*\*{name}[^*]*\*\*[^:*]*?:?\*?\*? ([\dE, ]+|all in order)\.", map_)
    numbers = list(book) if "all" in numbers else numbers.split(", ")
    numbers = [n for n in numbers if name != "A course" or n.isdigit()]
    reading, work = map(sum, zip(*(minutes(n) for n in numbers if n in book)))
    lines.append([name, ", ".join(numbers), f"{reading} + {work} min", left_out])
lines.append(["Code only", "README's tree: `model/`, then `training/`, beside W", "no exercises", "every *why*, and every measurement. *In the library*, near each chapter's end, leads back from a line of code to its chapter"])
table(["path", "chapters", "read + exercises", "what it leaves out"], lines)

# %% [markdown]
# ## In class
#
# **No network, no GPU.** Nothing but the installation needs a network, and nothing needs a GPU. For a room without one, collect the packages on a
# machine with the same system and the same Python, `python -m pip wheel ".[notebooks]" hatchling editables -w wheels`, carry the project and that folder on a stick, and install
# with `python -m pip install --no-index --find-links wheels -e ".[notebooks]"`. All chapters then run, on drawn
# scenes. Photographs are fetched once with `make data`, and on other machines from a copy: `make data MIRROR=folder`. Who only reads gets
# `make html`.
#
# **Slides.** `make slides N=07` deals a chapter out as slides, in one file that needs no network; answers come at a key press, hints and
# solutions are left out. `make lecture` is for running cells in front of the class.
#
# **Grading.** `make student` writes all chapters without solutions to `out/student`. Exercises check themselves: an untouched one says ○, a
# known mistake gets its sentence, a right one ✔, on fixed corner cases and random inputs. As students see it, with exercise 7.3:

# %%
from minim2f.book.exercise import verdict
from minim2f.book.exercises import find


def untouched(allowed, heads): ...


def turned_round(allowed, heads):
    return allowed.repeat_interleave(heads, 0)


def right(allowed, heads):
    return ~allowed.repeat_interleave(heads, 0)


for answer in (untouched, turned_round, right):
    print(verdict(find("7.3"), answer))  # what exercise("7.3", answer) prints

# %% [markdown]
# What students hand in can be run again, then counted:
#
# ```sh
# python -m jupyter nbconvert --to notebook --execute --inplace handed_in/*.ipynb
# grep -oH "✔ [0-9E]*\.[0-9]*" handed_in/*.ipynb
# ```
#
# This runs their code, so use an account with nothing in it. And a tick proves little: solutions come with the package, in `minim2f/book/exercises/`, and a
# notebook can print what it likes. Use ticks to see where a class is stuck, and grade what cannot be copied: an
# explanation of a failed hypothesis, a break-it with its symptom, or a wrong answer that a checker accepts (send us those, please).

"""A synchronous grammar writes an English-French phrasebook: each rule grows a sentence and its translation together.

The file reads from top to bottom: the lexicon, the word forms, the last touches on French and English spelling
(elision, contraction, "a" or "an"), noun phrases, clauses, the rules, then sampling and the split. Everything is drawn
from one seeded generator, so that the same file always writes the same bytes: `python data/phrasebook.py [FOLDER]`.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

SEED = 1789
SIZES = {"train": 22_000, "valid": 1_000, "test": 1_000}
UNSEEN_IN_TEST = 450  # test sentences with two content words that never meet in training or validation
HELD_OUT = 0.04  # share of the pairs of content words that only the test may use
MINIMUM_COUNT = 5  # times a word of the test occurs in training, at least

# ---------------------------------------------------------------------------------------------------------- lexicon
# Nouns by class: English[/plural] French[/plural] gender; "_" stands for a space, the regular plural takes an "s".
# A mass noun has no plural and is marked M or F instead of m or f.

NOUNS = {
    "drink": """coffee café M, tea thé M, water eau F, milk lait M, wine vin M, beer bière F,
        lemonade limonade F, orange_juice jus_d'orange M, apple_juice jus_de_pomme M""",
    "food": """bread pain M, cheese fromage M, fish poisson M, soup soupe F, rice riz M, butter beurre M,
        ham jambon M, chicken poulet M, meat viande F, salad salade F, jam confiture F, honey miel M,
        ice_cream glace F""",
    "item": """cake gâteau/gâteaux m, sandwich/sandwiches sandwich m, omelette omelette f, croissant croissant m,
        biscuit biscuit m, pizza pizza f, pancake crêpe f""",
    "fruit": """apple pomme f, orange orange f, egg œuf m, pear poire f, cherry/cherries cerise f,
        tomato/tomatoes tomate f, potato/potatoes pomme_de_terre/pommes_de_terre f, banana banane f,
        carrot carotte f, peach/peaches pêche f, strawberry/strawberries fraise f""",
    "clothing": """shirt chemise f, dress/dresses robe f, coat manteau/manteaux m, hat chapeau/chapeaux m,
        skirt jupe f, jacket veste f, sweater pull m, scarf/scarves écharpe f, belt ceinture f, tie cravate f,
        swimsuit maillot_de_bain/maillots_de_bain m""",
    "object": """key clé f, umbrella parapluie m, pen stylo m, passport passeport m, ticket billet m,
        wallet portefeuille m, map carte f, ring bague f, notebook carnet m, pencil crayon m""",
    "reading": """book livre m, newspaper journal/journaux m, magazine magazine m,
        dictionary/dictionaries dictionnaire m, novel roman m""",
    "letter": "letter lettre f, postcard carte_postale/cartes_postales f, poem poème m, message message m",
    "luggage": "suitcase valise f, bag sac m, box/boxes boîte f, parcel colis/colis m, basket panier m",
    "device": """phone téléphone m, watch/watches montre f, camera appareil_photo/appareils_photo m,
        computer ordinateur m, radio radio f, lamp lampe f, clock horloge f, oven four m""",
    "present": """flower fleur f, toy jouet m, gift cadeau/cadeaux m, picture tableau/tableaux m, vase vase m,
        plant plante f""",
    "ware": """fork fourchette f, knife/knives couteau/couteaux m, spoon cuillère f, glass/glasses verre m,
        plate assiette f, cup tasse f, bottle bouteille f, bowl bol m""",
    "furniture": """chair chaise f, table table f, bed lit m, mirror miroir m, armchair fauteuil m,
        desk bureau/bureaux m""",
    "place": """station gare f, bank banque f, market marché m, airport aéroport m, hospital hôpital/hôpitaux m,
        pharmacy/pharmacies pharmacie f, library/libraries bibliothèque f, school école f,
        bakery/bakeries boulangerie f, bookshop librairie f, supermarket supermarché m, swimming_pool piscine f,
        town_hall mairie f, post_office poste f, university/universities université f, cinema cinéma m,
        butcher's_shop boucherie f, car_park parking m""",
    "sight": """hotel hôtel m, restaurant restaurant m, museum musée m, church/churches église f,
        castle château/châteaux m, theatre théâtre m, harbour port m, village village m, cathedral cathédrale f""",
    "nature": "beach/beaches plage f, park parc m, garden jardin m, lake lac m, river rivière f",
    "landmark": "bridge pont m, tower tour f, island île f, forest forêt f, statue statue f, fountain fontaine f",
    "eatery": "restaurant restaurant m, café café m, bakery/bakeries boulangerie f, hotel hôtel m, market marché m",
    "hotdrink": "coffee café m, tea thé m",
    "cooked": "fish poisson M, meat viande F, chicken poulet M, soup soupe F, rice riz M",
    "snack": "sandwich/sandwiches sandwich m, omelette omelette f, pizza pizza f",
    "filling": "cheese fromage M, ham jambon M, butter beurre M, chicken poulet M, salad salade F, fish poisson M",
    "young": "brother frère m, sister sœur f, son fils/fils m, daughter fille f",
    "ride": "train train m, bus/buses bus/bus m, plane avion m",
    "home": "house maison f, flat appartement m, hotel hôtel m, office bureau/bureaux m, farm ferme f",
    "room": """bedroom chambre f, kitchen cuisine f, bathroom salle_de_bains/salles_de_bains f,
        living_room salon m, balcony/balconies balcon m, cellar cave f, terrace terrasse f,
        dining_room salle_à_manger/salles_à_manger f""",
    "opening": "door porte f, window fenêtre f, shop magasin m, drawer tiroir m, gate portail m",
    "vehicle": "car voiture f, boat bateau/bateaux m, bicycle vélo m, motorbike moto f, lorry/lorries camion m",
    "transit": "train train m, bus/buses bus/bus m, taxi taxi m, plane avion m, tram tram m, underground métro M",
    "sibling": "brother frère m, sister sœur f, son fils/fils m, daughter fille f, uncle oncle m, aunt tante f",
    "relative": """brother frère m, sister sœur f, mother mère f, father père m, uncle oncle m, aunt tante f,
        son fils/fils m, daughter fille f, grandmother grand-mère/grands-mères f,
        grandfather grand-père/grands-pères m""",
    "staff": """waiter serveur m, doctor médecin m, nurse infirmière f, driver chauffeur m, teacher professeur m,
        waitress/waitresses serveuse f, baker boulanger m, guide guide m, dentist dentiste m, tourist touriste m,
        customer client m, neighbour voisin m""",
    "body": """head tête f, back dos/dos m, stomach/stomachs ventre m, throat gorge f, ear oreille f,
        leg jambe f, arm bras/bras m, foot/feet pied m, knee genou/genoux m, hand main f, tooth/teeth dent f,
        shoulder épaule f""",
    "animal": "dog chien m, cat chat m, horse cheval/chevaux m, bird oiseau/oiseaux m, rabbit lapin m, cow vache f",
    "event": """film film m, concert concert m, meeting réunion f, lesson leçon f, exhibition exposition f,
        party/parties fête f, match/matches match m, journey voyage m, play pièce f""",
    "question": """exercise exercice m, question question f, story/stories histoire f, answer réponse f,
        problem problème m, word mot m""",
}

ALIASES = {
    "sibling": "relative",
    "young": "relative",
    "landmark": "nature",
    "ride": "transit",
    "eatery": "sight",
}  # for the adjectives

# Adjectives: English, masculine[/before a vowel], feminine, plurals; "<" stands before the French noun, ">" after it,
# "=" only after "to be"; classes of nouns.
ADJECTIVES = """
big grand grande grands grandes < place vehicle luggage furniture room animal sight ware fruit home nature
small petit petite petits petites <
    place vehicle item luggage furniture room animal sight ware present device fruit home nature
beautiful beau/bel belle beaux belles < home clothing sight present animal vehicle nature
old vieux/vieil vieille vieux vieilles < home clothing vehicle staff sight device furniture reading animal
new nouveau/nouvel nouvelle nouveaux nouvelles < clothing vehicle device furniture place luggage
good bon bonne bons bonnes < food drink item event reading fruit
young jeune jeune jeunes jeunes < staff animal
pretty joli jolie jolis jolies < clothing present sight nature
long long longue longs longues < event letter
bad mauvais mauvaise mauvais mauvaises < event
red rouge rouge rouges rouges > clothing vehicle luggage furniture present
blue bleu bleue bleus bleues > clothing vehicle luggage furniture object
white blanc blanche blancs blanches > clothing vehicle luggage animal ware
black noir noire noirs noires > clothing vehicle luggage animal object
green vert verte verts vertes > clothing vehicle luggage furniture ware
yellow jaune jaune jaunes jaunes > clothing vehicle furniture ware
grey gris grise gris grises > clothing vehicle animal
expensive cher chère chers chères > clothing device vehicle furniture luggage present
cold froid froide froids froides > drink food room
fresh frais fraîche frais fraîches > food
delicious délicieux délicieuse délicieux délicieuses > food item drink fruit
excellent excellent excellente excellents excellentes > food item event drink fruit
sweet sucré sucrée sucrés sucrées > drink
famous célèbre célèbre célèbres célèbres > sight nature
modern moderne moderne modernes modernes > place device furniture room
quiet calme calme calmes calmes > room sight place nature
clean propre propre propres propres > ware clothing room
dirty sale sale sales sales > ware clothing room
empty vide vide vides vides > luggage ware room
broken cassé cassée cassés cassées = device ware furniture
heavy lourd lourde lourds lourdes > luggage furniture
light léger légère légers légères > luggage
fast rapide rapide rapides rapides > vehicle transit
slow lent lente lents lentes > vehicle transit
comfortable confortable confortable confortables confortables > furniture room vehicle transit
interesting intéressant intéressante intéressants intéressantes > reading event question letter
boring ennuyeux ennuyeuse ennuyeux ennuyeuses > reading event letter
difficult difficile difficile difficiles difficiles > question
easy facile facile faciles faciles > question
important important importante importants importantes > question event
funny drôle drôle drôles drôles > reading letter
kind gentil gentille gentils gentilles > staff relative
tired fatigué fatiguée fatigués fatiguées = relative staff
ill malade malade malades malades = relative staff animal
happy heureux heureuse heureux heureuses = relative staff
sad triste triste tristes tristes = relative
ready prêt prête prêts prêtes = relative
busy occupé occupée occupés occupées = relative staff
late en_retard en_retard en_retard en_retard = relative staff transit
worried inquiet inquiète inquiets inquiètes = relative
friendly sympathique sympathique sympathiques sympathiques > staff
patient patient patiente patients patientes > staff relative
useful utile utile utiles utiles > object device
"""

# Verbs by group: English base, past, participle | French infinitive[+preposition] [participle, future stem, present
# of je, il, nous, vous, ils] | classes of the object | its determiners ("own" is the subject's). What follows the first
# word of an English verb does not change. "ê:" marks the verbs that take être, "s:" the reflexive ones.
VERBS = {
    "shopping": """
buy bought bought | acheter acheté achèter achète achète achetons achetez achètent
    | food drink item fruit clothing luggage device present reading furniture ware vehicle | a a the this
sell sold sold | vendre | vehicle device furniture clothing luggage | own the this
choose chose chosen | choisir | clothing present furniture reading | a this the
pay_for paid_for paid_for | payer payé paier paie paie payons payez paient
    | food drink item clothing present | the this
""",
    "table": """
eat ate eaten | manger | food item fruit | a a the
drink drank drunk | boire bu boir bois boit buvons buvez boivent | drink | a a the
order ordered ordered | commander | drink item | a
prepare prepared prepared | préparer | item | a the
taste tasted tasted | goûter | food drink item fruit | the this
share shared shared | partager | food item | the this
""",
    "mishap": """
lose lost lost | perdre | object luggage reading animal | own
find found found | trouver | object luggage animal | own the
forget forgot forgotten | oublier | object luggage clothing reading | own
break broke broken | casser | ware device furniture | own the
look_for looked_for looked_for | chercher | object luggage animal clothing reading | own the
leave left left | laisser | luggage object clothing | own
""",
    "home": """
clean cleaned cleaned | nettoyer nettoyé nettoier nettoie nettoie nettoyons nettoyez nettoient
    | room furniture vehicle | the own
wash washed washed | laver | clothing ware vehicle | the own
open opened opened | ouvrir ouvert ouvrir ouvre ouvre ouvrons ouvrez ouvrent | opening luggage | the this
close closed closed | fermer | opening luggage | the this
""",
    "works": """
repair repaired repaired | réparer | device vehicle furniture | the own this
move moved moved | déplacer | furniture luggage | the this
paint painted painted | peindre peint peindr peins peint peignons peignez peignent | room opening | the this
""",
    "leisure": """
visit visited visited | visiter | sight nature landmark | the this
photograph photographed photographed | photographier | sight nature landmark animal | the this
draw drew drawn | dessiner | animal sight nature landmark | a the this
read read read | lire lu lir lis lit lisons lisez lisent | reading letter | a the this
write wrote written | écrire écrit écrir écris écrit écrivons écrivez écrivent | letter | a
look_at looked_at looked_at | regarder | sight nature landmark animal present | the this
""",
    "travel": """
take took taken | prendre pris prendr prends prend prenons prenez prennent | transit | the this a
rent rented rented | louer | vehicle home | a the this
wait_for waited_for waited_for | attendre | transit staff | the
miss missed missed | manquer | transit | the own
""",
    "people": """
call called called | appeler appelé appeller appelle appelle appelons appelez appellent | staff relative | the own
meet met met | rencontrer | staff | the a
help helped helped | aider | staff relative | own the
invite invited invited | inviter | relative staff | own the
thank thanked thanked | remercier | staff | the this
""",
    "give": """
give gave given | donner | reading object present item | a the
show showed shown | montrer | object reading present clothing | the this
lend lent lent | prêter | reading vehicle luggage device | own the
send sent sent | envoyer envoyé enverr envoie envoie envoyons envoyez envoient | letter present luggage | a the
bring brought brought | apporter | item fruit ware reading | a the
return returned returned | rendre | reading object device | the
""",
    "go": """
go_to went_to gone_to | ê:aller+à allé ir vais va allons allez vont | place sight nature | the
come_back_from came_back_from come_back_from | ê:revenir+de revenu reviendr reviens revient revenons revenez reviennent
    | place sight nature | the
""",
    "stroll": """
walk_to walked_to walked_to | marcher+jusque_à | place sight nature | the
""",
    "rest": """
sleep slept slept | dormir dormi dormir dors dort dormons dormez dorment | |
work worked worked | travailler | |
swim swam swum | nager | |
dance danced danced | danser | |
travel travelled travelled | voyager | |
sing sang sung | chanter | |
smoke smoked smoked | fumer | |
run ran run | courir couru courr cours court courons courez courent | |
cook cooked cooked | cuisiner | |
""",
    "reach": """
arrive_at arrived_at arrived_at | ê:arriver+à | place sight nature | the
""",
    "leave": """
go_out went_out gone_out | ê:sortir sorti sortir sors sort sortons sortez sortent | |
leave left left | ê:partir parti partir pars part partons partez partent | |
arrive arrived arrived | ê:arriver | |
come_back came_back come_back | ê:revenir revenu reviendr reviens revient revenons revenez reviennent | |
go_home went_home gone_home | ê:rentrer | |
""",
    "morning": """
get_up got_up got_up | s:lever levé lèver lève lève levons levez lèvent | |
wake_up woke_up woken_up | s:réveiller | |
go_to_bed went_to_bed gone_to_bed | s:coucher | |
get_dressed got_dressed got_dressed | s:habiller | |
rest rested rested | s:reposer | |
""",
    "know": """
know knew known | connaître connu connaîtr connais connaît connaissons connaissez connaissent | staff | the this own
understand understood understood | comprendre compris comprendr comprends comprend comprenons comprenez comprennent
    | question letter | the this
answer answered answered | répondre+à | question | the this
hear heard heard | entendre | animal vehicle | the a
need needed needed | avoir+besoin_de eu aur ai a avons avez ont | object device clothing luggage reading | the a
""",
    "habit": """
eat ate eaten | manger | food item fruit | a
drink drank drunk | boire bu boir bois boit buvons buvez boivent | drink | a
buy bought bought | acheter acheté achèter achète achète achetons achetez achètent | food item fruit drink | a
take took taken | prendre pris prendr prends prend prenons prenez prennent | transit | the
read read read | lire lu lir lis lit lisons lisez lisent | reading | a
cook cooked cooked | préparer | cooked | a
watch_television watched_television watched_television
    | regarder+la_télévision regardé regarder regarde regarde regardons regardez regardent | |
listen_to_music listened_to_music listened_to_music
    | écouter+de_la_musique écouté écouter écoute écoute écoutons écoutez écoutent | |
play_football played_football played_football | jouer+au_football joué jouer joue joue jouons jouez jouent | |
""",
    "like": """
like liked liked | aimer | drink food item fruit animal letter event | all
love loved loved | adorer | drink food item fruit animal letter event | all
""",
    "choice": """
hate hated hated | détester | drink food item fruit animal | all
prefer preferred preferred | préférer préféré préférer préfère préfère préférons préférez préfèrent
    | drink food item fruit animal | all
""",
}

DOUBLED = {"forget": "forgetting", "swim": "swimming", "get": "getting", "run": "running", "travel": "travelling"}
ASPIRATED = (
    "hall",
    "haut",
    "haricot",
    "huit",
    "onze",
    "yaourt",
)  # words that do not elide in spite of their first letter

# Small sets of fixed words that come in pairs.
SETS = {
    "polite": "Excuse me, = Excusez-moi, ; Hello, = Bonjour, ; Please, = S'il vous plaît, ; Good evening, = Bonsoir,",
    "past": """yesterday = hier ; this morning = ce matin ; last week = la semaine dernière ;
        last night = hier soir ; on Monday = lundi ; on Thursday = jeudi ; two days ago = il y a deux jours ;
        an hour ago = il y a une heure""",
    "present": """every day = tous les jours ; on Sundays = le dimanche ; every morning = tous les matins ;
        every week = toutes les semaines ; in the evening = le soir""",
    "ongoing": "now = maintenant ; at the moment = en ce moment ; today = aujourd'hui",
    "future": """tomorrow = demain ; next week = la semaine prochaine ; this evening = ce soir ;
        on Tuesday = mardi ; on Saturday = samedi ; tomorrow morning = demain matin ;
        in two days = dans deux jours ; next month = le mois prochain""",
    "near": "near = près de ; in front of = devant ; behind = derrière ; opposite = en face de ; next to = à côté de",
    "on": "on = sur ; under = sous ; behind = derrière ; in front of = devant ; next to = à côté de",
    "ask": """Could you = Pourriez-vous ; Can you = Pouvez-vous ; Would you like to = Voudriez-vous ;
        Do you want to = Voulez-vous""",
    "modal": """I must = je dois ; we must = nous devons ; you must = vous devez ; I can = je peux ;
        he can = il peut ; we can = nous pouvons ; she wants to = elle veut ; they want to = ils veulent ;
        I want to = je veux ; he has to = il doit ; you can = vous pouvez ; I would like to = je voudrais ;
        we would like to = nous voudrions""",
    "cannot": """I cannot = je ne peux pas ; we cannot = nous ne pouvons pas ; you must not = vous ne devez pas ;
        she does not want to = elle ne veut pas ; he cannot = il ne peut pas ;
        they do not want to = ils ne veulent pas ; I do not want to = je ne veux pas ;
        you cannot = vous ne pouvez pas""",
    "infinitive": """I am going to = je vais ; I hope to = j'espère ; we prefer to = nous préférons ;
        it is better to = il vaut mieux ; I do not like to = je n'aime pas ; my wife is going to = ma femme va ;
        I need to = j'ai besoin de ; we have decided to = nous avons décidé de ;
        I have forgotten to = j'ai oublié de ; she tried to = elle a essayé de ;
        he wants to learn to = il veut apprendre à ; they have begun to = ils ont commencé à ;
        I have no time to = je n'ai pas le temps de ; we are trying to = nous essayons de ;
        she has just begun to = elle vient de commencer à""",
    "weather": """it is cold = il fait froid ; it is hot = il fait chaud ; it is raining = il pleut ;
        it is snowing = il neige ; it is sunny = il y a du soleil ; it is windy = il y a du vent ;
        the weather is bad = il fait mauvais ; the weather is fine = il fait beau ;
        there is a lot of fog = il y a beaucoup de brouillard""",
    "country": """to France = en France ; to Italy = en Italie ; to Spain = en Espagne ;
        to Germany = en Allemagne ; to Canada = au Canada ; to Japan = au Japon ; to Portugal = au Portugal ;
        to the United States = aux États-Unis ; to Paris = à Paris ; to London = à Londres ;
        to Brussels = à Bruxelles ; to Geneva = à Genève ; to Lyon = à Lyon""",
    "at": """in Paris = à Paris ; in London = à Londres ; in Lyon = à Lyon ; in France = en France ;
        in Germany = en Allemagne ; in Canada = au Canada ; in the country = à la campagne ;
        by the sea = au bord de la mer ; in the mountains = à la montagne""",
    "weekday": """Monday = lundi ; Tuesday = mardi ; Wednesday = mercredi ; Thursday = jeudi ;
        Friday = vendredi ; Saturday = samedi ; Sunday = dimanche""",
    "language": """French = français ; English = anglais ; German = allemand ; Spanish = espagnol ;
        Italian = italien ; Japanese = japonais""",
    "very": "very = très ; really = vraiment ; quite = assez",
    "so": "because = parce que ; but = mais ; and = et",
    "once": """in those days = à cette époque ; every summer = tous les étés ;
        when it was cold = quand il faisait froid ; in winter = en hiver ;
        during the holidays = pendant les vacances""",
    "means": "by train = en train ; by car = en voiture ; by plane = en avion ; by bus = en bus ; by taxi = en taxi",
    "knowing": "do you know = savez-vous ; can you tell me = pouvez-vous me dire",
    "know": """I do not know = Je ne sais pas ; I would like to know = Je voudrais savoir ;
        She is asking = Elle demande""",
    "think": """I think = je pense ; she says = elle dit ; I believe = je crois ; we know = nous savons ;
        he hopes = il espère""",
    "drinker": """with milk = avec du lait ; without sugar = sans sucre ;
        with a little sugar = avec un peu de sucre ; with ice = avec des glaçons""",
    "quantity": """a kilo of = un kilo de ; a lot of = beaucoup de ; a dozen = une douzaine de ;
        two kilos of = deux kilos de ; half a kilo of = un demi-kilo de""",
    "bound": """to Paris = pour Paris ; to London = pour Londres ; to Lyon = pour Lyon ;
        to Brussels = pour Bruxelles ; to Geneva = pour Genève""",
    "weekdays": """Mondays = lundi ; Tuesdays = mardi ; Wednesdays = mercredi ; Thursdays = jeudi ;
        Fridays = vendredi ; Sundays = dimanche""",
    "forecast": """it will be cold = il fera froid ; it will be hot = il fera chaud ; it will rain = il pleuvra ;
        it will snow = il neigera ; it will be sunny = il y aura du soleil ; it will be windy = il y aura du vent""",
    "age": """two = deux ; five = cinq ; eight = huit ; ten = dix ; twelve = douze ; fifteen = quinze ;
        twenty = vingt ; thirty = trente ; forty = quarante ; fifty = cinquante""",
    "tongue": """French = le français ; English = l'anglais ; German = l'allemand ; Spanish = l'espagnol ;
        Italian = l'italien""",
    "side": "left = à gauche ; right = à droite",
    "hand": "left = gauche ; right = droite",
    "ordinal": "first = première ; second = deuxième ; third = troisième ; fourth = quatrième",
    "trip": """we are going to France = nous allons en France ; I am going to Paris = je vais à Paris ;
        she is going to Spain = elle va en Espagne ; they are going to Germany = ils vont en Allemagne ;
        I am going to Brussels = je vais à Bruxelles ; he is going to London = il va à Londres ;
        my parents are going to Italy = mes parents vont en Italie ;
        we are going to Portugal = nous allons au Portugal""",
    "ache": """I have a headache = j'ai mal à la tête ; I have a sore throat = j'ai mal à la gorge ;
        she has a stomach ache = elle a mal au ventre ; he has toothache = il a mal aux dents ;
        my back hurts = j'ai mal au dos ; my feet hurt = j'ai mal aux pieds ; my leg hurts = j'ai mal à la jambe""",
    "givenow": """give me = donnez-moi ; show us = montrez-nous ; bring him = apportez-lui ;
        lend them = prêtez-leur ; do not give him = ne lui donnez pas ; do not show them = ne leur montrez pas ;
        do not lend me = ne me prêtez pas ; send us = envoyez-nous""",
    "giveask": """can you lend me = pouvez-vous me prêter ; could you show me = pourriez-vous me montrer ;
        can you bring us = pouvez-vous nous apporter ; do you want to give him = voulez-vous lui donner ;
        would you like to show them = voudriez-vous leur montrer""",
    "state": """I am hungry = j'ai faim ; I am thirsty = j'ai soif ; we are hungry = nous avons faim ;
        they are thirsty = ils ont soif ; the children are hungry = les enfants ont faim""",
    "feel": """I am cold = j'ai froid ; I am sleepy = j'ai sommeil ; she is hot = elle a chaud ;
        he has a fever = il a de la fièvre ; we are cold = nous avons froid ; she has a cough = elle tousse ;
        they are lucky = ils ont de la chance""",
}

# ------------------------------------------------------------------------------------------------------- word forms


@dataclass(frozen=True)
class Noun:
    """A noun in both languages; `mass` nouns have no plural."""

    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool
    mass: bool
    kind: str


@dataclass(frozen=True)
class Adjective:
    """An adjective; French forms are masculine, masculine before a vowel, feminine, and the two plurals."""

    english: str
    french: tuple[str, str, str, str, str]
    place: str  # "<" before the French noun, ">" after it, "=" only after to be
    kinds: frozenset[str]

    def agree(self, feminine: bool, plural: bool, vowel: bool = False) -> str:
        """The French form for a gender and a number, `vowel` when a noun with a vowel follows."""
        masculine, liaison, *others = self.french
        if feminine or plural:
            return others[(1 if not feminine else 2) if plural else 0]
        return liaison if vowel else masculine


@dataclass(frozen=True)
class Verb:
    """A verb in both languages; French present and future are for je, il, nous, vous, ils."""

    base: str
    past: str
    participle: str
    infinitive: str
    french_participle: str
    future_stem: str
    present: tuple[str, ...]
    objects: tuple[str, ...]
    determiners: tuple[str, ...]
    preposition: str  # of the French object
    auxiliary: str  # avoir or être
    reflexive: bool


def spaced(word: str) -> str:
    """A word of the tables with its spaces."""
    return word.replace("_", " ")


def numbers(word: str) -> tuple[str, str]:
    """Singular and plural of a table entry such as "knife/knives" or "key"."""
    singular, _, plural = spaced(word).partition("/")
    return singular, plural or singular + "s"


def read_nouns() -> dict[str, list[Noun]]:
    """The nouns of each class."""
    nouns: dict[str, list[Noun]] = {}
    for kind, table in NOUNS.items():
        for entry in table.split(","):
            english, french, gender = entry.split()
            suits = ALIASES.get(kind, kind)
            noun = Noun(numbers(english), numbers(french), gender in "fF", gender.isupper(), suits)
            nouns.setdefault(kind, []).append(noun)
    return nouns


def read_adjectives() -> list[Adjective]:
    """The adjectives, in the order of the table."""
    adjectives = []
    for line in lines_of(ADJECTIVES):
        english, masculine, feminine, masculines, feminines, side, *kinds = line.split()
        plain, _, liaison = masculine.partition("/")
        forms = (spaced(plain), spaced(liaison or plain), spaced(feminine), spaced(masculines), spaced(feminines))
        adjectives.append(Adjective(spaced(english), forms, side, frozenset(kinds)))
    return adjectives


def conjugate(infinitive: str) -> list[str]:
    """Participle, future stem and present of a regular verb in -er, -ir or -re."""
    stem, ending = infinitive[:-2], infinitive[-2:]
    if ending == "er":
        nous = stem + ("eons" if stem.endswith("g") else "ons")
        nous = stem[:-1] + "çons" if stem.endswith("c") else nous
        return [stem + "é", infinitive, stem + "e", stem + "e", nous, stem + "ez", stem + "ent"]
    if ending == "ir":
        return [stem + end for end in ("i", "ir", "is", "it", "issons", "issez", "issent")]
    return [stem + end for end in ("u", "r", "s", "", "ons", "ez", "ent")]


def read_verbs(table: str) -> list[Verb]:
    """The verbs of a table, regular French forms filled in."""
    verbs = []
    for line in lines_of(table):
        english, french, objects, determiners = (part.split() for part in line.split("|"))
        head, _, preposition = spaced(french[0]).partition("+")
        mark, _, infinitive = head.rpartition(":")
        forms = [spaced(form) for form in french[1:]] or conjugate(infinitive)
        base, past, participle = map(spaced, english)
        reflexive, moves = mark == "s", mark in ("s", "ê")
        tail = (tuple(objects), tuple(determiners), preposition, "être" if moves else "avoir", reflexive)
        verbs.append(Verb(base, past, participle, infinitive, forms[0], forms[1], tuple(forms[2:]), *tail))
    return verbs


def lines_of(table: str) -> list[str]:
    """The lines of a table; an indented line continues the one before."""
    return re.sub(r"\n +", " ", table.strip()).splitlines()


def read_set(table: str) -> list[tuple[str, str]]:
    """The pairs of a table "English = French ; English = French"."""
    pairs = [entry.split("=") for entry in table.split(";")]
    return [(english.strip(), french.strip()) for english, french in pairs]


NOUNS_OF = read_nouns()
ADJECTIVE_LIST = read_adjectives()
VERBS_OF = {group: read_verbs(table) for group, table in VERBS.items()}
PAIRS_OF = {name: read_set(table) for name, table in SETS.items()}

# ------------------------------------------------------------------------------------------------- spelling, at last

VOWELS = "aeiouyhâàéèêëîïôûùœ"
CONTRACTED = {"de le": "du", "de les": "des", "à le": "au", "à les": "aux"}
ELIDED = ("le", "la", "je", "ne", "de", "que", "me", "se", "jusque")
BEFORE_VOWEL = {"ma": "mon", "sa": "son", "ce": "cet"}


def elides(word: str) -> bool:
    """Whether a French word starts with a vowel or a mute h, so that le becomes l' before it."""
    word = word.lower()
    return word[:1] != "" and word[0] in VOWELS and not word.startswith(ASPIRATED)


def spell_french(text: str) -> str:
    """Elide, contract, capitalise. A pronoun is written ~le, ~la, ~les: it elides but does not contract."""
    words = text.split()
    for index in range(len(words) - 2, -1, -1):
        word, following = words[index].lower(), words[index + 1]
        if word == "si" and following in ("il", "ils"):
            words[index : index + 2] = ["s'" + following]
        elif elides(following) and word in BEFORE_VOWEL:
            words[index] = BEFORE_VOWEL[word]
        elif elides(following) and word.lstrip("~") in ELIDED:
            words[index : index + 2] = [words[index].lstrip("~")[:-1] + "'" + following]
        elif f"{word} {following}" in CONTRACTED:
            words[index : index + 2] = [CONTRACTED[f"{word} {following}"]]
    return capitalised(re.sub(r" ([,.])", r"\1", " ".join(words).replace("~", "")))


def spell_english(text: str) -> str:
    """Choose between "a" and "an", then capitalise."""
    text = " ".join(text.split())
    text = re.sub(r"\b([Aa]) (?=[aeiou]|hour)(?!uni|one|eu|use)", r"\1n ", text)
    return capitalised(re.sub(r" ([,.?!])", r"\1", text))


def capitalised(text: str) -> str:
    """The text with a capital at the start of each of its sentences."""
    return re.sub(r"(^|[.?!] )([^\W\d_])", lambda found: found[1] + found[2].upper(), text)


# ----------------------------------------------------------------------------------------------------- noun phrases


class Picker:
    """A source of seeded choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, items: Iterable[Item]) -> Item:
        """One of the items, all equally likely."""
        choices = list(items)
        return choices[self.below(len(choices))]

    def below(self, bound: int) -> int:
        """A whole number from zero up to the bound, which is left out."""
        return int(self._random.random() * bound)

    def chance(self, share: float) -> bool:
        """True for this share of the calls."""
        return self._random.random() < share


# Words that agree with a noun phrase, written {x.he}, {x.it}, {x.cher} in the rules: English singular and plural,
# French masculine, feminine and the two plurals. "him" and "she" are for people, in the singular.
AGREEING = {
    "he": (("it", "they"), ("il", "elle", "ils", "elles")),
    "it": (("it", "them"), ("~le", "~la", "~les", "~les")),
    "e": (("", ""), ("", "e", "s", "es")),
    "le": (("", ""), ("", "le", "s", "les")),
    "nt": (("", ""), ("", "", "nt", "nt")),
    "cost": (("costs", "cost"), ("", "", "", "")),
    "cher": (("", ""), ("cher", "chère", "chers", "chères")),
}
PEOPLE = {"him": (("him", "~le"), ("her", "~la")), "she": (("he", "il"), ("she", "elle"))}
BE = {  # by person: I, he, we, you, they
    "be": (("am", "is", "are", "are", "are"), ("suis", "est", "sommes", "êtes", "sont")),
    "was": (("was", "was", "were", "were", "were"), ("étais", "était", "étions", "étiez", "étaient")),
}


@dataclass(frozen=True)
class Nominal:
    """A noun phrase or a pronoun in both languages; `words` are its content words."""

    english: str
    french: str
    person: int = 1  # je, il, nous, vous, ils
    feminine: bool = False
    words: tuple[str, ...] = ()
    noun: Noun | None = None

    @property
    def plural(self) -> bool:
        """Whether the phrase is a plural of the third person."""
        return self.person == 4

    def part(self, name: str) -> tuple[str, str]:
        """A word that agrees with the phrase, in both languages."""
        if name in BE:
            return BE[name][0][self.person], BE[name][1][self.person]
        if name in PEOPLE:
            return PEOPLE[name][self.feminine]
        english, french = AGREEING[name]
        return english[self.plural], french[2 * self.plural + self.feminine]


PRONOUNS = [
    Nominal(*row)
    for row in (
        ("I", "je", 0),
        ("he", "il"),
        ("she", "elle", 1, True),
        ("we", "nous", 2),
        ("you", "vous", 3),
        ("they", "ils", 4),
    )
]
OTHERS = [
    Nominal(*row)
    for row in (
        ("my wife", "ma femme", 1, True, ("wife",)),
        ("my husband", "mon mari", 1, False, ("husband",)),
        ("the children", "les enfants", 4, False, ("child",)),
        ("my parents", "mes parents", 4, False, ("parent",)),
        ("our friends", "nos amis", 4, False, ("friend",)),
        ("the girls", "les filles", 4, True, ("girl",)),
        ("this woman", "cette femme", 1, True, ("woman",)),
        ("the man", "l'homme", 1, False, ("man",)),
    )
]
OWNERS = {
    "my": ("mon", "ma", "mes"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "your": ("votre", "votre", "vos"),
    "their": ("leur", "leur", "leurs"),
}
OWNER_OF = {"I": "my", "he": "his", "she": "her", "we": "our", "you": "your", "they": "their"}


def owner_of(subject: Nominal) -> str:
    """The possessive of a subject."""
    return OWNER_OF.get(subject.english, "their" if subject.plural else "her" if subject.feminine else "his")


DEMONSTRATIVES = {"the": ("le", "la", "les"), "this": ("ce", "cette", "ces"), "a": ("un", "une", "des")}


def noun_phrase(determiner: str, noun: Noun, adjective: Adjective | None = None, plural: bool = False) -> Nominal:
    """A noun phrase: "a" is also "some" (des, du, de la); "no" is what negation makes of it (any, pas de)."""
    plural = plural and not noun.mass
    english, french = noun.english[plural], noun.french[plural]
    before = False
    if adjective:
        before = adjective.place == "<"
        form = adjective.agree(noun.feminine, plural, vowel=before and elides(french))
        english = f"{adjective.english} {english}"
        french = f"{form} {french}" if before else f"{french} {form}"
    index = 2 if plural else int(noun.feminine)
    if determiner in ("a", "no") and (plural or noun.mass):
        english = ("some " if determiner == "a" else "any ") + english
        if determiner == "no" or (plural and before):
            french = "de " + french
        else:
            french = ("des " if plural else "de la " if noun.feminine else "de le ") + french
    elif determiner == "no":
        english, french = "a " + english, "de " + french
    elif determiner == "several":
        pass
    elif determiner == "bare":
        english = english if plural or noun.mass else "a " + english
    elif determiner == "all":  # things in general: coffee, le café
        french = DEMONSTRATIVES["the"][index] + " " + french
    else:
        form = (DEMONSTRATIVES | OWNERS)[determiner][index]
        english = f"{'these' if determiner == 'this' and plural else determiner} {english}"
        french = f"{form} {french}"
    words = (noun.english[0], adjective.english) if adjective else (noun.english[0],)
    return Nominal(english, french, 4 if plural else 1, noun.feminine, words, noun)


# ----------------------------------------------------------------------------------------------------------- figures

NUMBERS = read_set(
    "two = deux ; three = trois ; four = quatre ; five = cinq ; six = six ; seven = sept ; eight = huit ; nine = neuf ;"
    " ten = dix ; eleven = onze ; twelve = douze ; fifteen = quinze ; twenty = vingt ; thirty = trente ;"
    " forty = quarante ; fifty = cinquante"
)
MONTHS = read_set(
    "January = janvier ; February = février ; March = mars ; April = avril ; May = mai ; June = juin ; July = juillet ;"
    " August = août ; September = septembre ; October = octobre ; November = novembre ; December = décembre"
)
MINUTES = read_set(
    "{} o'clock = {} ; half past {} = {} et demie ; quarter past {} = {} et quart ; quarter to {} = {} moins le quart ;"
    " ten past {} = {} dix ; twenty to {} = {} moins vingt ; five to {} = {} moins cinq"
)


def price(pick: Picker) -> tuple[str, str]:
    """A price: €12.50, 12,50 €."""
    euros, cents = 2 + pick.below(98), pick.one(("", "50", "20", "90"))
    return f"€{euros}" + f".{cents}" * bool(cents), f"{euros}" + f",{cents}" * bool(cents) + " €"


def clock(pick: Picker) -> tuple[str, str]:
    """A time in figures: 14:30, 14 h 30."""
    return figures(pick, 6, 23)


def figures(pick: Picker, first: int, last: int) -> tuple[str, str]:
    """A time in figures between two hours."""
    hours, minutes = first + pick.below(last - first), pick.one(("05", "10", "15", "20", "30", "40", "45", "50"))
    return f"{hours}:{minutes}", f"{hours} h {minutes}"


def hour(pick: Picker) -> tuple[str, str]:
    """A time in words: half past three, trois heures et demie."""
    english, french = pick.one([("one", "une"), *NUMBERS[:10]])
    before, after = pick.one(MINUTES)
    return before.format(english), after.format(f"{french} heure" + "s" * (french != "une"))


def date(pick: Picker) -> tuple[str, str]:
    """A day of the year: 14 July, 14 juillet (1er for the first)."""
    day = 1 + pick.below(28)
    english, french = pick.one(MONTHS)
    return f"{day} {english}", f"{'1er' if day == 1 else day} {french}"


def count(pick: Picker) -> tuple[str, str]:
    """A small number in words."""
    return pick.one(NUMBERS[:9])


# ----------------------------------------------------------------------------------------------------------- clauses


def third(base: str) -> str:
    """The English third person: buys, watches, carries, looks for."""
    head, space, rest = base.partition(" ")
    if re.search(r"(s|x|sh|ch|o)$", head):
        head += "es"
    elif re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "ies"
    else:
        head = "has" if head == "have" else head + "s"
    return head + space + rest


def continuous(base: str) -> str:
    """The English -ing form: buying, taking, forgetting, looking for."""
    head, space, rest = base.partition(" ")
    if re.search(r"[^e]e$", head) and head != "be":
        head = head[:-1]
    return DOUBLED.get(head, head + "ing") + space + rest


def imperfect(verb: Verb, person: int) -> str:
    """The French imparfait, from the stem of the nous form."""
    stem = verb.present[2].removesuffix("ons")
    ending = ("ais", "ait", "ions", "iez", "aient")[person]
    return (stem.removesuffix("e") if ending[0] == "i" and stem.endswith("ge") else stem) + ending


RECEIVERS = [("me", "me"), ("you", "vous"), ("him", "lui"), ("her", "lui"), ("us", "nous"), ("them", "leur")]
CLASHES = {"I": ("me", "us"), "you": ("you",), "we": ("us", "me"), "he": ("him",), "she": ("her",), "they": ("them",)}
FRENCH_HAVE = ("ai", "a", "avons", "avez", "ont")
FRENCH_BE = ("suis", "est", "sommes", "êtes", "sont")
FRENCH_GO = ("vais", "va", "allons", "allez", "vont")
FUTURE_ENDINGS = ("ai", "a", "ons", "ez", "ont")
REFLEXIVES = ("me", "se", "nous", "vous", "se")
NEGATIONS = {"": "", "not": "pas", "never": "jamais", "no longer": "plus"}


def english_verb(verb: Verb, person: int, tense: str, negation: str = "") -> str:
    """The English verb group in a tense, negated or not."""
    single, base = person == 1, verb.base
    be = ("am", "is", "are", "are", "are")[person]
    adverb = f"{negation} " if negation else ""
    simple = {"present": third(base) if single else base, "past": verb.past}
    if tense in simple:
        helper = "did" if tense == "past" else "does" if single else "do"
        return f"{helper} not {base}" if negation == "not" else adverb + simple[tense]
    return {
        "ongoing": f"{be} {adverb}{continuous(base)}",
        "perfect": f"{'has' if single else 'have'} {adverb}{verb.participle}",
        "future": f"will {adverb}{base}",
        "going": f"{be} {adverb}going to {base}",
        "used": f"{adverb}used to {base}",
        "was": f"{'was' if person < 2 else 'were'} {adverb}{continuous(base)}",
    }[tense]


def agreed(participle: str, nominal: Nominal) -> str:
    """A French participle in the gender and the number of a noun phrase."""
    ending = nominal.part("e")[1]
    return participle + ("" if ending == "s" and participle.endswith("s") else ending)


def french_verb(
    verb: Verb, subject: Nominal, tense: str, negation: str = "", clitic: str = "", leading: Nominal | None = None
) -> str:
    """The French verb group: pronouns, negation around the finite verb, agreement with a direct object that leads."""
    person, second = subject.person, ""
    clitic = REFLEXIVES[person] if verb.reflexive else clitic
    pronouns = f"{clitic} " if clitic else ""
    if tense in ("past", "perfect"):
        first = (FRENCH_BE if verb.auxiliary == "être" else FRENCH_HAVE)[person]
        second = verb.french_participle
        if verb.auxiliary == "être":
            second = agreed(second, subject)
        elif leading:  # la lettre que j'ai écrite, je l'ai écrite
            second = agreed(second, leading)
    elif tense == "going":
        first, second, pronouns = FRENCH_GO[person], pronouns + verb.infinitive, ""
    elif tense == "future":
        first = verb.future_stem + FUTURE_ENDINGS[person]
    elif tense in ("used", "was"):
        first = imperfect(verb, person)
    else:
        first = verb.present[person]
    if negation:
        return f"ne {pronouns}{first} {NEGATIONS[negation]} {second}".strip()
    return f"{pronouns}{first} {second}".strip()


# Adjectives that "very", "too" and "so" do not suit.
ABSOLUTE = (
    "excellent",
    "delicious",
    "broken",
    "new",
    "empty",
    "ready",
    "red",
    "blue",
    "white",
    "black",
    "green",
    "yellow",
    "grey",
)
FIGURES: dict[str, Callable[[Picker], tuple[str, str]]] = {
    "price": price,
    "clock": clock,
    "hour": hour,
    "date": date,
    "count": count,
    "opening": lambda pick: figures(pick, 7, 11),
    "closing": lambda pick: figures(pick, 17, 22),
}


class Grammar:
    """Draws the parts of a rule: noun phrases, verb phrases, whole clauses, figures."""

    def __init__(self, seed: int) -> None:
        self.pick = Picker(seed)

    def noun(self, determiner: str, kinds: Iterable[str], adjective: float = 0.25, plural: float = 0.25) -> Nominal:
        """A noun phrase of one of the classes, with an adjective or a plural in these shares."""
        noun = self.pick.one(noun for kind in kinds for noun in NOUNS_OF[kind])
        if noun.kind == "staff" and determiner in OWNERS:
            determiner = "the"
        if noun.kind == "relative":
            adjective, plural = 0, plural if "sibling" in kinds else 0
            determiner = determiner if determiner in OWNERS else self.pick.one(OWNERS)
        fitting = [item for item in ADJECTIVE_LIST if noun.kind in item.kinds and item.place != "="]
        chosen = self.pick.one(fitting) if fitting and self.pick.chance(adjective) else None
        return noun_phrase(determiner, noun, chosen, determiner == "all" or self.pick.chance(plural))

    def subject(self) -> Nominal:
        """A pronoun, or a member of the family."""
        if self.pick.chance(0.4):
            return self.noun(self.pick.one(OWNERS), ["relative"], 0, 0)
        return self.pick.one(PRONOUNS + OTHERS if self.pick.chance(0.5) else PRONOUNS)

    def thing(self, verb: Verb, owner: str, negation: str = "") -> Nominal:
        """An object that suits the verb; empty when the verb takes none."""
        if not verb.objects:
            return Nominal("", "")
        determiner = self.pick.one(verb.determiners)
        determiner = owner if determiner == "own" else determiner
        if determiner == "a" and negation and not verb.preposition:
            determiner = "no"
        return self.noun(determiner, verb.objects, plural=0.0 if verb.preposition else 0.2)

    def receiver(self, subject: Nominal) -> tuple[Nominal, str]:
        """Who is given something, and the French pronoun when it is one: "to my sister", "to him"."""
        if self.pick.chance(0.5):
            person = self.noun("the" if self.pick.chance(0.4) else "my", ["relative"], 0, 0)
            return Nominal(f"to {person.english}", f"à {person.french}", words=person.words), ""
        others = [pair for pair in RECEIVERS if pair[0] not in CLASHES.get(subject.english, ("him", "her", "them"))]
        english, clitic = self.pick.one(others)
        return Nominal(f"to {english}", ""), clitic

    def do(self, groups: Iterable[str], owner: str = "the", negation: str = "") -> Nominal:
        """A verb phrase in the infinitive: "buy some bread", acheter du pain."""
        verb = self.pick.one(verb for group in groups for verb in VERBS_OF[group] if not verb.reflexive)
        thing = self.thing(verb, owner, negation)
        french = f"{verb.infinitive} {verb.preposition} {thing.french}"
        return Nominal(f"{verb.base} {thing.english}", french, words=(verb.base, *thing.words))

    def agent(self, verb: Verb, tense: str) -> Nominal:
        """A subject; "je suis parti" depends on who speaks, so that it is left to the third person."""
        subject = self.subject()
        while tense in ("past", "perfect") and verb.auxiliary == "être" and subject.person in (0, 2, 3):
            subject = self.subject()
        return subject

    def clause(self, tense: str, groups: Iterable[str], negation: str = "") -> Nominal:
        """A clause with its subject: "my brother has bought a book"."""
        verb = self.pick.one(verb for group in groups for verb in VERBS_OF[group])
        subject = self.agent(verb, tense)
        thing = self.thing(verb, owner_of(subject), negation)
        receiver, clitic = self.receiver(subject) if verb in VERBS_OF["give"] else (Nominal("", ""), "")
        english = f"{english_verb(verb, subject.person, tense, negation)} {thing.english} {receiver.english}"
        french = (
            f"{french_verb(verb, subject, tense, negation, clitic)} {verb.preposition} {thing.french} {receiver.french}"
        )
        words = (*subject.words, verb.base, *thing.words, *receiver.words)
        return Nominal(f"{subject.english} {english}", f"{subject.french} {french}", words=words)

    def about(self, thing: Nominal, tense: str, groups: Iterable[str], negation: str, pronoun: bool) -> Nominal:
        """A clause whose direct object is already there: "my brother has lost it", or "that my brother has lost"."""
        fitting = [
            verb for group in groups for verb in VERBS_OF[group] if thing.noun and thing.noun.kind in verb.objects
        ]
        verb = self.pick.one(fitting)
        subject = self.agent(verb, tense)
        english, clitic = thing.part("it") if pronoun else ("", "")
        french = french_verb(verb, subject, tense, negation, clitic, leading=thing)
        english = f"{subject.english} {english_verb(verb, subject.person, tense, negation)} {english}"
        return Nominal(english, f"{subject.french} {french}", words=(*subject.words, verb.base))

    def quality(self, thing: Nominal, without: Iterable[str] = ()) -> Nominal:
        """An adjective that suits a noun phrase and agrees with it."""
        noun = thing.noun
        fitting = [adjective for adjective in ADJECTIVE_LIST if noun and noun.kind in adjective.kinds]
        adjective = self.pick.one(item for item in fitting if item.english not in (*thing.words, *without))
        return Nominal(adjective.english, adjective.agree(thing.feminine, thing.plural), words=(adjective.english,))

    def draw(self, kind: str, bound: dict[str, Nominal]) -> Nominal:
        """The value of a slot, from its description in a rule."""
        head, *rest = kind.split()
        head, _, option = head.partition("-")
        option = spaced(option)
        if head in PAIRS_OF:
            return Nominal(*self.pick.one(PAIRS_OF[head]))
        if head == "clause":
            return self.clause(rest[0], rest[1:], option)
        if head in ("about", "that"):
            return self.about(bound[rest[0]], rest[1], rest[2:], option, head == "about")
        if head == "quality":
            return self.quality(bound[rest[0]])
        if head == "degree":
            return self.quality(bound[rest[0]], ABSOLUTE)
        if head == "do":
            return self.do(rest, "my" if option == "my" else "the", option if option == "not" else "")
        if head == "subject":
            return self.subject()
        if head in FIGURES:
            return Nominal(*FIGURES[head](self.pick))
        shares = {"adjective": 0.25, "plural": 0.25}
        given = dict(choice.split("=") for choice in rest if "=" in choice)
        shares |= {name: float(share) for name, share in given.items()}
        return self.noun(head, [choice for choice in rest if "=" not in choice], **shares)

    def expand(self, rule: str) -> Phrase:
        """A sentence and its translation from a rule "English | French | slot: description; ..."."""
        english, french, slots = (part.strip() for part in rule.split("|"))
        bound: dict[str, Nominal] = {}
        for slot in filter(None, slots.split(";")):
            name, kind = (part.strip() for part in slot.split(":"))
            bound[name] = self.draw(kind, bound)

        def fill(text: str, side: int) -> str:
            def value(found: re.Match[str]) -> str:
                nominal = bound[found[1]]
                return nominal.part(found[2])[side] if found[2] else (nominal.english, nominal.french)[side]

            return re.sub(r"\{(\w+)(?:\.(\w+))?\}", value, text)

        words = sorted(word for nominal in bound.values() for word in nominal.words)
        if len(set(words)) < len(words):  # "the bank is near the bank"
            return self.expand(rule)
        return Phrase(spell_english(fill(english, 0)), spell_french(fill(french, 1)), tuple(words))


@dataclass(frozen=True)
class Phrase:
    """A sentence, its translation and its content words."""

    english: str
    french: str
    words: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of content words that the sentence combines."""
        return list(combinations(self.words, 2))


# ------------------------------------------------------------------------------------------------------------- rules
# English | French | slots. In front, the weight of the rule.

RULES = """
1 Where {x.be} {x}? | Où {x.be} {x} ? | x: the place sight nature landmark adjective=0.3 plural=0
1 {p} where {x.be} {x}? | {p} où {x.be} {x} ? | p: polite; x: the place sight nature landmark plural=0
1 Is {x} far from here? | Est-ce que {x} est loin d'ici ? | x: the place sight nature landmark plural=0
2 {x} {x.be} {n} {y}. | {x} {x.be} {n} {y}.
    | x: the place sight nature plural=0 adjective=0.15; n: near; y: the place sight nature home plural=0 adjective=0.05
1 {x} is far from {y}. | {x} est loin de {y}. | x: the place sight plural=0 adjective=0; y: the nature home plural=0
1 Is there {x} {n} {y}? | Est-ce qu'il y a {x} {n} {y} ?
    | x: a place plural=0; n: near; y: the place plural=0 adjective=0.1
1 There is {x} {n} {y}. | Il y a {x} {n} {y}. | x: a place plural=0; n: near; y: my home plural=0 adjective=0
1 There {x.be} {x} {n} {y}. | Il y a {x} {n} {y}. | x: a animal object ware luggage; n: on; y: the furniture plural=0
1 {x} {x.be} {n} {y}. | {x} {x.be} {n} {y}.
    | x: my object luggage reading adjective=0.2; n: on; y: the furniture plural=0
2 {x} {x.be} {v} {q}. | {x} {x.be} {v} {q}.
    | x: the place sight nature room vehicle clothing device reading event question adjective=0; v: very; q: degree x
2 {x} {x.be} not {q}. | {x} ne {x.be} pas {q}.
    | x: the furniture ware luggage food drink item staff event adjective=0; q: quality x
1 {x} {x.be} {v} {q} today. | {x} {x.be} {v} {q} aujourd'hui.
    | x: my sibling adjective=0 plural=0.3; v: very; q: degree x
1 {x} {x.was} {v} {q} {t}. | {x} {x.was} {v} {q} {t}.
    | x: his relative staff event adjective=0; v: very; q: degree x; t: past
1 Why {x.be} {x} so {q}? | Pourquoi {x} {x.be}-{x.he} si {q} ?
    | x: this clothing device reading event room question adjective=0; q: degree x
1 What {x}! {x.he} {x.be} {q}. | Quel{x.le} {x} ! {x.he} {x.be} {q}.
    | x: bare animal sight nature clothing reading plural=0; q: quality x
4 {c} {t}. | {c} {t}. | c: clause past shopping mishap home works leisure travel people give leave table; t: past
3 {c} {t}. | {c} {t}. | c: clause past go stroll reach leave morning; t: past
3 {c} {t}. | {c} {t}. | c: clause future shopping home works leisure travel people give table go stroll leave; t: future
3 {c} {t}. | {c} {t}. | c: clause going shopping home works leisure travel people give go stroll leave; t: future
3 {c} {t}. | {c} {t}. | c: clause present home habit habit go stroll rest morning; t: present
2 {c} {t}. | {c} {t}. | c: clause ongoing home leisure habit rest shopping; t: ongoing
2 {c}. | {c}. | c: clause perfect shopping mishap home works people
2 {c}. | {c}. | c: clause present like choice
1 {c}. | {c}. | c: clause-not present like
2 {c}. | {c}. | c: clause-not perfect shopping table leisure give
1 {c} {t}. | {c} {t}. | c: clause-not past shopping mishap leisure travel leave; t: past
1 {c}. | {c}. | c: clause-never present habit rest home works go
1 {c}. | {c}. | c: clause-no_longer present habit rest travel
1 {c}. | {c}. | c: clause-never perfect table leisure travel go
1 {c} {t}. | {c} {t}. | c: clause-not future shopping leisure go; t: future
1 {c} {t}. | {c} {t}. | c: clause used habit rest go stroll leave; t: once
1 {c} when you called. | {c} quand vous avez appelé. | c: clause was habit rest leisure home works
2 {c}. | {c}. | c: clause present know
1 {c}. | {c}. | c: clause-not present know
1 I would like {x}, please. | Je voudrais {x}, s'il vous plaît. | x: a food drink item fruit
1 Could I have {x}, please? | Pourrais-je avoir {x}, s'il vous plaît ? | x: a food drink item ware plural=0.3
1 {x} {w}, please. | {x} {w}, s'il vous plaît. | x: a hotdrink adjective=0 plural=0; w: drinker
1 {n} {x}, please. | {n} {x}, s'il vous plaît. | n: count; x: several item fruit adjective=0.2 plural=1
1 How much {x.be} {x}? | Combien coûte{x.nt} {x} ?
    | x: this clothing device present luggage furniture fruit plural=0.4
2 {x} {x.cost} {p}. | {x} coûte{x.nt} {p}.
    | x: this clothing device present luggage furniture reading ware; p: price
1 {x} {x.be} too {q}. | {x} {x.be} trop {q}. | x: this clothing room furniture luggage adjective=0; q: degree x
1 {x} {x.be} too expensive. Do you have anything cheaper?
    | {x} {x.be} trop {x.cher}. Avez-vous quelque chose de moins cher ?
    | x: this clothing device present furniture luggage
1 I am looking for {x}. | Je cherche {x}. | x: a clothing present object device home
1 Do you have {x}? | Avez-vous {x} ? | x: a clothing present food item fruit reading
1 Do you have {x}? Yes, I have some. | Avez-vous {x} ? Oui, j'en ai. | x: a food drink fruit adjective=0 plural=1
1 I do not have {x}, but my brother has some. | Je n'ai pas {x}, mais mon frère en a.
    | x: no food drink fruit adjective=0 plural=1
1 Sorry, we do not have {x}. | Je regrette, nous n'avons pas {x}. | x: no food item drink fruit clothing
1 There {x.be} no more {x}. | Il n'y a plus de {x}. | x: several food drink fruit ware adjective=0.1 plural=1
1 I need {q} {x}. | Il me faut {q} {x}. | q: quantity; x: several fruit food adjective=0 plural=1
1 {a} {v}, please? | {a} {v}, s'il vous plaît ? | a: ask; v: do home works people
2 {a} {v}? | {a} {v} ? | a: ask; v: do leisure travel people table shopping go
3 {m} {v} {t}. | {m} {v} {t}. | m: modal; v: do home works leisure travel people shopping go; t: future
2 {m} {v}. | {m} {v}. | m: cannot; v: do-not shopping leisure home works table travel people
2 {m} {v}. | {m} {v}. | m: infinitive; v: do shopping leisure home works table travel people go
1 Where can I {v}? | Où puis-je {v} ? | v: do shopping travel
1 How can we {v}? | Comment pouvons-nous {v} ? | v: do shopping travel home works go
1 When are you going to {v}? | Quand allez-vous {v} ? | v: do home works travel shopping leisure people go
1 Why do you want to {v}? | Pourquoi voulez-vous {v} ? | v: do home works travel shopping leisure people go
1 Do not forget to {v}! | N'oubliez pas de {v} ! | v: do-my home works shopping people go
1 It is forbidden to {v} here. | Il est interdit de {v} ici. | v: do rest leisure table
1 Let us go and {v}! | Allons {v} ! | v: do leisure table rest shopping
1 Who is going to {v}? | Qui va {v} ? | v: do home works shopping table people
1 Nobody wants to {v}. | Personne ne veut {v}. | v: do home works people leisure shopping
1 I have lost {x}. I cannot find {x.it} anywhere. | J'ai perdu {x}. Je ne {x.it} trouve nulle part.
    | x: my object luggage
1 Here {x.be} {x}. We have found {x.it} {n} {y}. | Voici {x}. Nous {x.it} avons trouvé{x.e} {n} {y}.
    | x: your object luggage; n: on; y: the furniture plural=0 adjective=0
2 Where {x.be} {x}? {x.he} {x.be} {n} {y}. | Où {x.be} {x} ? {x.he} {x.be} {n} {y}.
    | x: my object luggage reading clothing; n: on; y: the furniture plural=0 adjective=0.1
2 Where {x.be} {x}? {c} {t}. | Où {x.be} {x} ? {c} {t}.
    | x: the object luggage reading clothing; c: about x past mishap shopping; t: past
2 {x} {x.be} {q}, but {c}. | {x} {x.be} {q}, mais {c}.
    | x: this clothing furniture luggage device adjective=0; q: quality x;
    c: about-not x past shopping mishap home works
2 {x} that {c} {x.be} {q}. | {x} que {c} {x.be} {q}.
    | x: the clothing reading letter furniture device luggage animal adjective=0;
    c: that x past shopping mishap leisure give home works; q: quality x
1 {x} that {c} {x.be} {v} {q}. | {x} que {c} {x.be} {v} {q}.
    | x: the item fruit vehicle room sight nature adjective=0;
    c: that x past shopping table leisure home works travel; v: very; q: degree x
1 I am looking for {x} that {c} {t}. | Je cherche {x} que {c} {t}.
    | x: the clothing reading luggage device; c: that x past shopping mishap; t: past
1 {x} is for {y}. | {x} est pour {y}.
    | x: this present clothing item reading letter plural=0; y: my relative adjective=0
2 {c} because {w}. | {c} parce que {w}. | c: clause-not future go leisure shopping leave; w: weather
1 If {w}, {c}. | Si {w}, {c}. | w: weather; c: clause future go leisure habit
1 When {w}, {c}. | Quand {w}, {c}. | w: weather; c: clause present habit go rest
1 Today {w}, but {v} tomorrow. | Aujourd'hui {w}, mais {v} demain. | w: weather; v: forecast
1 {w} {a} {t}. | {w} {a} {t}. | w: weather; a: at; t: ongoing
1 {s}. Let us go to {x}. | {s}. Allons à {x}. | s: state; x: a eatery plural=0 adjective=0.4
1 {s} {t}. | {s} {t}. | s: feel; t: ongoing
2 {c} {y} but {d}. | {c} {y} mais {d}. | c: clause past go leave; y: past; d: clause-not perfect table people shopping
2 {c}, and {d} {t}. | {c} et {d} {t}. | c: clause ongoing home rest; d: clause ongoing rest habit; t: ongoing
2 {h} {c}. | {h} que {c}. | h: think; c: clause future go leave shopping travel leisure
1 {h} {c} {t}. | {h} que {c} {t}. | h: think; c: clause past mishap people leave; t: past
1 {k} where {x} {x.be}? | {k} où {x.be} {x} ? | k: knowing; x: the place sight nature transit plural=0 adjective=0
1 {k} where {x} {x.be}. | {k} où {x.be} {x}. | k: know; x: the place sight nature transit plural=0 adjective=0
1 I do not know if {c} {t}. | Je ne sais pas si {c} {t}. | c: clause future go stroll leave people; t: future
1 {c} {m}. | {c} {m}. | c: clause going go; m: means
1 {s} {t}. | {s} {t}. | s: trip; t: future
1 {s} {m} {t}. | {s} {m} {t}. | s: trip; m: means; t: future
1 What time does {x} leave? | À quelle heure part {x} ? | x: the transit plural=0 adjective=0
1 {x} leaves at {h}. | {x} part à {h}. | x: the transit plural=0; h: hour
1 {x} {n} leaves at {h}. | {x} {n} part à {h}. | x: the ride plural=0 adjective=0; n: bound; h: clock
1 {x} arrives {d} at {h}. | {x} arrive {d} à {h}. | x: my relative adjective=0; d: future; h: hour
1 {x} opens at {h} and closes at {i}. | {x} ouvre à {h} et ferme à {i}. | x: the place plural=0; h: opening; i: closing
1 {x} is closed on {d}. | {x} est fermé{x.e} le {d}. | x: the place plural=0 adjective=0.1; d: weekdays
1 {x} is open until {h}. | {x} est ouvert{x.e} jusqu'à {h}. | x: the place plural=0 adjective=0.1; h: hour
1 It is {h}. | Il est {h}. | h: hour
1 Let us meet at {h} {n} {x}. | Retrouvons-nous à {h} {n} {x}.
    | h: hour; n: near; x: the place sight nature landmark plural=0 adjective=0
1 {x} is on {d}. | {x} est le {d}. | x: the event plural=0; d: date
1 We are arriving on {d} at {h}. | Nous arrivons le {d} à {h}. | d: date; h: clock
1 {c} at {h}. | {c} à {h}. | c: clause present morning leave; h: hour
1 {c} at {h}. | {c} à {h}. | c: clause past morning leave reach; h: hour
1 {x} was born on {d}. | {x} est né{x.e} le {d}. | x: my relative adjective=0; d: date
1 I would like to book a table for {n} on {d} at {h}.
    | Je voudrais réserver une table pour {n} personnes {d} à {h}.
    | n: count; d: weekday; h: hour
1 I would like a room for {n} nights from {d}. | Je voudrais une chambre pour {n} nuits à partir du {d}.
    | n: count; d: date
1 I have booked {x} for {n} nights. | J'ai réservé {x} pour {n} nuits. | x: a room plural=0 adjective=0.8; n: count
1 {x} has {n} children. | {x} a {n} enfants. | x: my relative adjective=0; n: count
1 How old is {x}? {x.she} is {n}. | Quel âge a {x} ? {x.he} a {n} ans. | x: your young adjective=0; n: age
1 What is the name of {x}? | Comment s'appelle {x} ? | x: your relative animal adjective=0 plural=0
1 {x} works {a}. | {x} travaille {a}. | x: my relative staff adjective=0 plural=0; a: at
1 {x} speaks {l} {v} well. | {x} parle {v} bien {l}. | x: my relative staff adjective=0 plural=0; v: very; l: language
1 Do you speak {l}? A little, but I understand {m} well. | Parlez-vous {l} ? Un peu, mais je comprends bien {m}.
    | l: language; m: tongue
1 {x}. | {x}. | x: ache
1 Take {n} tablets {t}. | Prenez {n} comprimés {t}. | n: count; t: present
1 Go straight on, then turn {d} after {x}. | Continuez tout droit, puis tournez {d} après {x}.
    | d: side; x: the place sight nature plural=0 adjective=0.1
1 Take the {o} street on the {d}, {n} {x}. | Prenez la {o} rue {d}, {n} {x}.
    | o: ordinal; d: side; n: near; x: the place sight nature plural=0 adjective=0
1 {x} is on the {d} of {y}. | {x} est à {d} de {y}.
    | x: the place plural=0; d: hand; y: the sight nature plural=0 adjective=0.1
1 {x} is {n} minutes from here on foot. | {x} est à {n} minutes d'ici à pied.
    | x: the place sight nature plural=0; n: count
1 Do you know {x}? We are going there {t}. | Connaissez-vous {x} ? Nous y allons {t}.
    | x: this sight nature place plural=0; t: future
1 I like {x}. I go there {t}. | J'aime bien {x}. J'y vais {t}. | x: this sight nature plural=0; t: present
2 {g} {x}. | {g} {x}. | g: givenow; x: the object reading letter ware present
2 {g} {x}? | {g} {x} ? | g: giveask; x: your object reading letter ware luggage device
1 I can see {x}, but I cannot see {y}. | Je vois {x}, mais je ne vois pas {y}.
    | x: the sight nature landmark animal transit; y: the sight nature landmark place plural=0
1 {x} is working. I must not disturb {x.him}. | {x} travaille. Je ne dois pas {x.it} déranger.
    | x: my relative adjective=0
1 {x} is here. Do you want to speak to {x.him}? | {x} est ici. Voulez-vous lui parler ? | x: the staff plural=0
1 I have met {x}. I find {x.him} very {q}. | J'ai rencontré {x}. Je {x.it} trouve très {q}.
    | x: your relative adjective=0; q: degree x
1 We saw {x} {t}, but we did not speak to {x.him}. | Nous avons vu {x} {t}, mais nous ne lui avons pas parlé.
    | x: your relative staff plural=0 adjective=0; t: past
1 {x} who lives {a} is {q}. | {x} qui habite {a} est {q}.
    | x: my relative staff adjective=0 plural=0; a: at; q: quality x
1 {x} who works {n} {y} is {v} {q}. | {x} qui travaille {n} {y} est {v} {q}.
    | x: the staff adjective=0 plural=0; n: near; y: the place plural=0 adjective=0; v: very; q: degree x
1 We saw nothing {a}. | Nous n'avons rien vu {a}. | a: at
1 I know nobody {a}. | Je ne connais personne {a}. | a: at
1 {x} never says anything {t}. | {x} ne dit jamais rien {t}. | x: my relative adjective=0; t: present
1 {x} lives {a}, {n} {y}. | {x} habite {a}, {n} {y}.
    | x: my relative adjective=0; a: at; n: near; y: a sight nature plural=0
1 {x} {x.be} mine, not yours. | {x} {x.be} à moi, pas à vous. | x: this object clothing luggage reading ware
1 Look, {x} {x.be} {q}! | Regardez, {x} {x.be} {q} ! | x: the ware room luggage sight animal adjective=0; q: quality x
2 I prefer {x} to {y}. | Je préfère {x} à {y}.
    | x: the clothing; y: this clothing
1 I like {x} better than {y}. | J'aime mieux {x} que {y}. | x: this furniture device; y: the furniture device
1 Would you rather have {x} or {y}? | Préférez-vous {x} ou {y} ?
    | x: a drink item adjective=0; y: a drink item adjective=0
2 {x} with {y} and {z}, please. | {x} avec {y} et {z}, s'il vous plaît.
    | x: a snack plural=0 adjective=0; y: a filling adjective=0; z: a filling drink adjective=0
1 I ordered {x}, not {y}! | J'ai commandé {x}, pas {y} !
    | x: a item fruit drink adjective=0.2; y: a drink item adjective=0
"""


def read_rules() -> list[str]:
    """The rules, each as often as its weight says."""
    rules = []
    for line in lines_of(RULES):
        weight, _, rule = line.partition(" ")
        rules += [rule] * int(weight)
    return rules


# -------------------------------------------------------------------------------------------- sampling and the split


def held_out(pair: tuple[str, str]) -> bool:
    """Whether only the test may bring these two content words together."""
    digest = hashlib.sha256(f"{SEED} {pair[0]} {pair[1]}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


def tokens(phrase: Phrase) -> set[str]:
    """The words of both sides, marked by language; figures do not count."""
    sides = (("en", phrase.english), ("fr", phrase.french))
    return {f"{side}:{word}" for side, text in sides for word in re.findall(r"[^\W\d_]+", text.lower())}


def build() -> dict[str, list[Phrase]]:
    """The three parts of the corpus."""
    grammar, rules = Grammar(SEED), read_rules()
    seen: set[str] = set()
    usual: list[Phrase] = []
    unseen: list[Phrase] = []
    wanted = sum(SIZES.values())
    while len(usual) < wanted:
        phrase = grammar.expand(grammar.pick.one(rules))
        if phrase.english not in seen:
            seen.add(phrase.english)
            (unseen if any(map(held_out, phrase.pairs)) else usual).append(phrase)
    train, valid = usual[: SIZES["train"]], usual[SIZES["train"] : SIZES["train"] + SIZES["valid"]]
    counts = Counter(token for phrase in train for token in tokens(phrase))
    common = {token for token, count in counts.items() if count >= MINIMUM_COUNT}
    rest = usual[SIZES["train"] + SIZES["valid"] :]
    return {"train": train, "valid": valid, "test": choose_test(unseen, rest, common, SIZES["test"])}


def choose_test(unseen: list[Phrase], rest: list[Phrase], common: set[str], size: int) -> list[Phrase]:
    """Test sentences of frequent words: the held-out combinations spread over the whole draw, then ordinary ones."""
    unseen = [phrase for phrase in unseen if tokens(phrase) <= common]
    rest = [phrase for phrase in rest if tokens(phrase) <= common]
    step = len(unseen) / UNSEEN_IN_TEST
    chosen = [unseen[int(index * step)] for index in range(UNSEEN_IN_TEST)]
    return sorted(
        chosen + rest[: size - UNSEEN_IN_TEST], key=lambda phrase: hashlib.sha256(phrase.english.encode()).digest()
    )


def write(folder: Path) -> None:
    """Write the corpus into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, phrases in build().items():
        for language, lines in (("en", [p.english for p in phrases]), ("fr", [p.french for p in phrases])):
            (folder / f"{part}.{language}").write_bytes("".join(line + "\n" for line in lines).encode())


def main() -> None:
    """Write the phrasebook into the folder named on the command line, or beside this file."""
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "phrasebook")


if __name__ == "__main__":
    main()

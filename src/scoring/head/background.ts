import { createHash } from 'node:crypto';

const DIGEST_BYTES = 32;
const MOST = 127;

/**
 * Vectors of the background texts as bytes: what they were made from and of (a sha256), the vectors with 8
 * bits a number, and the sha256 of all that. Their length is 1, so no scale is kept. 8 bits leave a cosine of 0.9999.
 * @param manifestDigest of the model that made them
 * @param vectors one for each of `BACKGROUND`
 */
export function encodeBackground(manifestDigest: string, vectors: readonly Float32Array[]): Uint8Array {
  const rows = vectors.map((vector) => {
    const scale = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / MOST;
    return Int8Array.from(vector, (value) => Math.round(value / scale));
  });
  const content = Buffer.concat([keyOf(manifestDigest), ...rows.map((row) => Buffer.from(row.buffer))]);
  return Buffer.concat([content, sha256(content)]);
}

/**
 * Reads what {@link encodeBackground} wrote.
 * @returns texts × dimension, each of length 1; `undefined` if they are of another model, of other texts or damaged
 */
export function decodeBackground(
  file: Uint8Array,
  manifestDigest: string,
  dimension: number,
): Float32Array | undefined {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (bytes.length !== 2 * DIGEST_BYTES + BACKGROUND.length * dimension) return undefined;
  if (!bytes.subarray(0, DIGEST_BYTES).equals(keyOf(manifestDigest))) return undefined;
  if (!bytes.subarray(-DIGEST_BYTES).equals(sha256(bytes.subarray(0, -DIGEST_BYTES)))) return undefined;
  const vectors = new Float32Array(BACKGROUND.length * dimension);
  for (let row = 0; row < BACKGROUND.length; row += 1) {
    const values = new Int8Array(bytes.buffer, bytes.byteOffset + DIGEST_BYTES + row * dimension, dimension);
    let squares = 0;
    for (let i = 0; i < dimension; i += 1) squares += (values[i] ?? 0) ** 2;
    const length = Math.sqrt(squares);
    for (let i = 0; i < dimension; i += 1) vectors[row * dimension + i] = (values[i] ?? 0) / length;
  }
  return vectors;
}

function keyOf(manifestDigest: string): Buffer {
  return sha256(Buffer.from([manifestDigest, ...BACKGROUND].join('\n')));
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/**
 * Texts that belong to no route in particular: what a router that is asked anything gets besides what it was
 * made for. They stand for the out-of-scope side when a head is calibrated. Some will be in scope of some set
 * (a set about cars, say); those that are as near to a route as its own utterances are left out there.
 *
 * To be changed together with `HEAD_VERSION`, as they decide about scores, and with the vectors that come with
 * the program (`npm run background`).
 */
export const BACKGROUND: readonly string[] = [
  // kitchen and food
  'how do I keep basil alive on the windowsill',
  'what can I cook with lentils and spinach',
  'my bread never rises, what is wrong with the dough',
  'is oat milk better than soy milk in coffee',
  'how many people does a three kilo turkey feed',
  'can I freeze mashed potatoes',
  'which knife should I use to fillet fish',
  'suggest a starter for a dinner with six vegetarians',
  'how do you pit an avocado safely',
  'does honey ever go bad',
  // house, garden, repairs
  'the tap in the bathroom drips all night',
  'what paint do I use on damp walls',
  'when should I prune my apple tree',
  'how do I hang a heavy mirror on drywall',
  'the smoke detector beeps once a minute',
  'squirrels keep digging up my tulip bulbs',
  'which light bulbs fit a dimmer',
  'my neighbour builds a fence on my land',
  'how do I get candle wax out of a tablecloth',
  'our boiler makes a knocking noise',
  // devices
  'close the blinds in the living room',
  'start the dishwasher at ten',
  'pause the film',
  'make it warmer in here',
  'connect my headphones to the television',
  'the printer says that it is out of paper but it is full',
  'my phone gets hot while charging',
  'why is the wifi slow in the attic',
  'how do I reset a router',
  'the touchpad of my laptop stopped working',
  'take a photo in three seconds',
  'turn the radio to the jazz station',
  'lock all doors when I leave',
  'mute',
  'louder please',
  // body and health
  'I sprained my ankle playing tennis',
  'how much water should one drink in a day',
  'my eyes itch every spring',
  'what helps against hiccups',
  'are contact lenses bad for sleeping',
  'how long is a cold contagious',
  'my baby is teething and cries a lot',
  'should I stretch before running or after',
  'which foods contain a lot of iron',
  'what is a normal resting pulse',
  'my back aches from sitting all day',
  'is it dangerous to skip breakfast',
  // animals
  'how old do parrots get',
  'my dog barks at the postman',
  'what do hedgehogs eat in winter',
  'how do I introduce a second cat',
  'which fish can live together in a small tank',
  'do horses sleep standing up',
  'the rabbit has chewed through a cable',
  'how fast can a cheetah run',
  // travel and traffic
  'which side of the road do they drive on in Malta',
  'do I need a visa for Vietnam',
  'when does the last ferry leave',
  'how early should I be at the airport',
  'is there a night train from Vienna to Rome',
  'what can I see in Lisbon in two days',
  'where can I park near the old town',
  'my suitcase did not come out on the belt',
  'how much do you tip in Japan',
  'call a cab to the central station',
  'take the second exit at the roundabout',
  'is the museum open on Mondays',
  'find a campsite by a lake',
  'reserve a window seat for me',
  // cars and bicycles
  'what pressure do my tyres need',
  'the engine warning light is on',
  'how do I clean a bicycle chain',
  'can I tow a trailer with my licence',
  'how long does an electric car take to charge',
  'my windscreen wipers smear',
  'which oil goes into a lawn mower',
  // films, music, games, books
  'who directed the first alien film',
  'recommend a podcast about the deep sea',
  'what comes after the third season',
  'which chords does this song use',
  'how do I beat the dragon at the end of level nine',
  'is the book better than the film',
  'shuffle my running playlist',
  'how do you castle in chess',
  'what is a good board game for two',
  'who sang the original of this song',
  'when do tickets for the festival go on sale',
  'put on something relaxing',
  'name a painter of the baroque',
  // sports
  'how many players are in a handball team',
  'what is the offside rule',
  'how do I improve my backhand',
  'who holds the record in the high jump',
  'how do I train for a half marathon',
  'which ski length is right for me',
  'is a plank better than sit-ups',
  // science and nature
  'why do leaves turn red in autumn',
  'how does a vaccine work',
  'what is dark matter',
  'how far away is the nearest star',
  'why is sea water salty',
  'what do enzymes do',
  'how do magnets work',
  'can lightning strike twice',
  'how are pearls made',
  'what causes tides',
  'why do cats purr',
  'how deep is the Mariana trench',
  'who discovered penicillin',
  'what is the boiling point of ethanol',
  // history, society, language of the world
  'when was the printing press invented',
  'who built the pyramids',
  'what started the first world war',
  'how many languages are spoken in India',
  'what does the upper house of parliament do',
  'who was the first woman in space',
  'what is the capital of Burkina Faso',
  'why do people shake hands',
  'what did Plato mean by the cave',
  'when did women get the vote in Switzerland',
  'what is a haiku',
  'how big was the Ottoman empire',
  'who owns Antarctica',
  // law, work, study
  'can my landlord keep the deposit',
  'how much notice do I have to give',
  'am I allowed to work two jobs',
  'do I have to pay for the school trip',
  'how do I prepare for a job interview',
  'what does a notary do',
  'which subjects should I take for medicine',
  'my boss wants me to work on Sundays',
  'how is overtime taxed',
  'can I record my own lecture',
  'is a handwritten will valid',
  'how do I register a small business',
  // family, feelings, advice
  'my best friend does not talk to me any more',
  'how do I tell my parents that I quit',
  'what should I wear to a funeral',
  'I feel lonely since I moved',
  'gift ideas for a ten year old who likes space',
  'how do I ask somebody out',
  'our daughter refuses to go to bed',
  'is it rude to leave a party early',
  'how do I stop biting my nails',
  'I cannot decide between two flats',
  'what makes a good marriage',
  'should I forgive him',
  'names for a girl that begin with L',
  // shopping and services
  'where do I get good running shoes',
  'is this jacket waterproof',
  'add batteries to the shopping list',
  'when does the supermarket close',
  'which vacuum cleaner is good for pet hair',
  'do you have this shirt in blue',
  'the parcel was left in the rain',
  'order flowers for my mother',
  'get me two tickets for the zoo',
  'I want to return these trousers, they are too short',
  'a table for four at eight, please',
  'is there a vegan option on the menu',
  'how much does it cost to have a suit altered',
  // hobbies and skills
  'teach me a card trick',
  'how do I sharpen a chisel',
  'which yarn is best for socks',
  'how long does clay take to dry',
  'how do I learn to whistle',
  'what lens do I need for portraits',
  'how do I fold a paper crane',
  'which guitar strings are easiest on the fingers',
  'what can I see through a small telescope tonight',
  // statements and fragments
  'the library moved to the other side of the park',
  'she has lived here since the war',
  'a green bicycle leaned against the wall',
  'we had soup and then fish',
  'the second chapter is about trade',
  'his brother works at the harbour',
  'they sold the house last autumn',
  'the train was late again',
  'blue',
  'seven or eight of them',
  'and then nothing happened',
  'not really',
  'maybe later',
  'that depends',
  'the one on the left',
  'as I said before',
  'nobody knows',
  'stop',
  'undo',
  'next',
  'wait a moment',
  'what about the other one',
  'I changed my mind',
  'number four',
  'test',
  'test test one two three',
  // noise
  'qwertz uiop',
  'dfgh jkl',
  'blah blah blah',
  'aaaaaaaaaa',
  '???',
  '12 34 56',
  ':-)',
  'x',
  'la la la',
  'the the of and to',
  // other languages
  'wo ist der nächste Bahnhof',
  'il pleut depuis trois jours',
  'quiero aprender a bailar',
  'buongiorno a tutti',
  'jag gillar att segla',
  'gdzie jest moja torba',
  'onde fica a praia',
  'de kat slaapt op de bank',
];
